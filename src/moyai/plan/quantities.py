"""Counts, bytes and times as a person reads them."""

from __future__ import annotations

_COUNTS = ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_BYTES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def format_count(count: float) -> str:
    """Three significant digits and a letter; B is 10^9.

    >>> [format_count(n) for n in (0, 999, 60_000, 134_515_008, 7.3e12)]
    ['0', '999', '60.0k', '135M', '7.30T']
    """
    return _scaled(count, _COUNTS, "", "")


def format_flops(count: float) -> str:
    """A number of floating-point operations in powers of ten.

    >>> format_flops(4.84e13)
    '4.8e13'
    """
    mantissa, exponent = f"{count:.1e}".split("e")
    return "0" if count == 0 else f"{mantissa}e{int(exponent)}"


def format_bytes(count: float) -> str:
    """Decimal units, three significant digits.

    >>> [format_bytes(n) for n in (12, 269_030_016, 43.02e9)]
    ['12 B', '269 MB', '43.0 GB']
    """
    return _scaled(count, _BYTES, " ", " B")


def format_seconds(seconds: float) -> str:
    """The two largest units that matter.

    >>> [format_seconds(n) for n in (0.4, 59, 61, 3 * 3600 + 120, 90 * 86400, 5 * 365 * 86400)]
    ['< 1 s', '59 s', '1 min 1 s', '3 h 2 min', '90 d', '5.0 years']
    """
    whole = round(seconds)
    if whole < 1:
        return "< 1 s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    if whole < 2 * 365 * 86400:
        return f"{whole // 86400} d"
    return f"{whole / (365 * 86400):,.1f} years"


def _scaled(count: float, units: tuple[tuple[int, str], ...], space: str, plain: str) -> str:
    for size, name in units:
        # 999.6k reads as 1.00M: compare what would be printed, not the number itself
        if abs(count) >= size * 0.9995:
            value = count / size
            digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
            return f"{value:,.{digits}f}{space}{name}"
    return f"{count:,.0f}{plain}"
