"""Scores and changes as a person reads them: no more digits than were measured, always with a sign."""

from __future__ import annotations

import math

from moyai.report.scores import Change, Quiz


def format_change(change: Change) -> str:
    """The change in per cent with its sign.

    >>> [format_change(Change(2.0, after, lower_is_better=True)) for after in (1.6, 2.0, 2.1)]
    ['−20.0 %', '±0.0 %', '+5.0 %']
    """
    if math.isnan(change.relative):
        return "n/a"
    if change.verdict == "same":
        return "±0.0 %"
    return f"{change.relative * 100:+,.1f} %".replace("-", "−")


def format_ratio(change: Change) -> str:
    """How many times as much.

    >>> format_ratio(Change(0.56, 1.11, lower_is_better=False))
    '×1.98'
    """
    return "n/a" if math.isnan(change.ratio) else f"×{change.ratio:.2f}"


def format_share(share: float) -> str:
    """A share in per cent with one digit.

    >>> format_share(0.25)
    '25.0 %'
    """
    return f"{share * 100:.1f} %"


def format_interval(quiz: Quiz) -> str:
    """The 95 % interval in whole per cent: questions are too few for more digits.

    >>> format_interval(Quiz(accuracy=0.25, num_correct=35, num_questions=140, interval=(0.185, 0.328)))
    '18–33 %'
    """
    low, high = quiz.interval
    return f"{low * 100:.0f}–{high * 100:.0f} %"


def format_small(value: float) -> str:
    """Two digits; in powers of ten where it is very small or very large.

    >>> format_small(1.2e-5), format_small(0.001), format_small(0.4142), format_small(0)
    ('1.2e-5', '0.001', '0.41', '0')
    """
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
