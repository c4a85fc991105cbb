"""What of a text counts when texts are compared: its letters and digits, in one spelling.

Duplicates and contamination compare texts by this one rule: NFKC (half-width kana and full-width Latin letters become
the usual ones), lower case, and everything that is neither letter, digit nor combining mark is a separator.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

JAPANESE = np.uint32(1 << 31)
"""Set in the folded code of a kana or a Chinese character."""

# Beyond here only private use, tags and variation selectors are assigned; none is a letter.
_END_OF_LETTERS = 0x32400
_NUM_CODE_POINTS = 0x110000
_VARIATION_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))
# Marks a code point whose NFKC form depends on its neighbours or is several characters; such a text is normalised whole.
_NOT_ALONE = np.uint32(1 << 30)

_JAPANESE_BLOCKS = (
    (0x3005, 0x3008),  # 々〆〇
    (0x3041, 0x3100),  # hiragana, katakana
    (0x31F0, 0x3200),  # small katakana of Ainu
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0x1B000, 0x1B170),  # old kana
    (0x20000, 0x32400),
)


def fold(text: str) -> NDArray[np.uint32]:
    r"""The folded code of each character of the normalised text; 0 is a separator.

    Kana and Chinese characters carry the bit `JAPANESE`.  Lower case is taken character by character, so that
    a Greek sigma does not depend on where it stands.

    >>> [chr(code & 0xFFFFF) for code in fold("Ａ-1 ｶﾞ")]
    ['a', '\x00', '1', '\x00', 'ガ']
    """
    codes = _codes(text)
    if (codes & _NOT_ALONE).any():
        codes = _codes(unicodedata.normalize("NFKC", text)) & ~_NOT_ALONE
    return codes


def folded_text(text: str) -> str:
    """The text of which `fold` gives a code for each character: `text` itself, or where that is not enough its NFKC.

    >>> folded_text("Ａ-1"), folded_text("Ａ-½")
    ('Ａ-1', 'A-1⁄2')
    """
    return unicodedata.normalize("NFKC", text) if (_codes(text) & _NOT_ALONE).any() else text


def _codes(text: str) -> NDArray[np.uint32]:
    # half a surrogate pair is no text, but comparing is not the place to say so
    return _table().take(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"))


@cache
def _table() -> NDArray[np.uint32]:
    table = np.zeros(_NUM_CODE_POINTS, np.uint32)
    table[:_END_OF_LETTERS] = np.fromiter(map(_folded, range(_END_OF_LETTERS)), np.uint32, _END_OF_LETTERS)
    return table


def _folded(code_point: int) -> int:
    normalised = unicodedata.normalize("NFKC", chr(code_point))
    if not any(map(_counts, normalised)):
        return 0
    if len(normalised) > 1:
        return int(_NOT_ALONE)
    return _code(normalised) | (int(_NOT_ALONE) if ord(normalised) in _composing() else 0)


def _code(character: str) -> int:
    lower = character.lower()
    code = ord(lower) if len(lower) == 1 else ord(character)
    return code | int(JAPANESE) if any(start <= code < end for start, end in _JAPANESE_BLOCKS) else code


def _counts(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LN" or (category in ("Mn", "Mc") and character not in _VARIATION_SELECTORS)


@cache
def _composing() -> frozenset[int]:
    """Code points that NFKC may join with the one before, or move past it."""
    jamo = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    marks = {code_point for code_point in range(_END_OF_LETTERS) if unicodedata.combining(chr(code_point))}
    parts = (unicodedata.decomposition(chr(code_point)).split() for code_point in range(_END_OF_LETTERS))
    seconds = {int(pair[1], 16) for pair in parts if len(pair) == 2 and not pair[0].startswith("<")}
    return frozenset(jamo | marks | seconds)
