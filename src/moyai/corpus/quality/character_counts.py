"""How many characters of a text are of which kind."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_HIRAGANA, _KATAKANA, _KANJI, _PUNCTUATION, _SPACE, _DAMAGED = range(1, 7)

_RANGES = (
    (_HIRAGANA, 0x3041, 0x3096),
    (_HIRAGANA, 0x309D, 0x309F),
    (_KATAKANA, 0x30A1, 0x30FA),
    (_KATAKANA, 0x30FC, 0x30FF),
    (_KATAKANA, 0x31F0, 0x31FF),
    (_KATAKANA, 0xFF66, 0xFF9D),
    (_KANJI, 0x3005, 0x3005),  # 々
    (_KANJI, 0x3007, 0x3007),  # 〇
    (_KANJI, 0x303B, 0x303B),  # 〻
    (_KANJI, 0x3400, 0x4DBF),
    (_KANJI, 0x4E00, 0x9FFF),
    (_KANJI, 0xF900, 0xFAFF),
    (_KANJI, 0x20000, 0x323AF),
    (_PUNCTUATION, 0x3001, 0x3002),  # 、。
    (_PUNCTUATION, 0x3008, 0x3011),  # brackets
    (_PUNCTUATION, 0x30FB, 0x30FB),  # ・
    (_PUNCTUATION, 0xFF01, 0xFF01),  # ！
    (_PUNCTUATION, 0xFF08, 0xFF09),  # （）
    (_PUNCTUATION, 0xFF0C, 0xFF0C),  # ，
    (_PUNCTUATION, 0xFF0E, 0xFF0E),  # ．
    (_PUNCTUATION, 0xFF1F, 0xFF1F),  # ？
    (_PUNCTUATION, 0xFF61, 0xFF65),  # half-width
    (_SPACE, 0x09, 0x0D),
    (_SPACE, 0x20, 0x20),
    (_SPACE, 0x85, 0x85),
    (_SPACE, 0xA0, 0xA0),
    (_SPACE, 0x2000, 0x200A),
    (_SPACE, 0x2028, 0x2029),
    (_SPACE, 0x3000, 0x3000),
    (_DAMAGED, 0x00, 0x08),
    (_DAMAGED, 0x0E, 0x1F),
    (_DAMAGED, 0x7F, 0x84),
    (_DAMAGED, 0x86, 0x9F),
    (_DAMAGED, 0x3013, 0x3013),  # 〓, printed where a character could not be
    (_DAMAGED, 0xE000, 0xF8FF),
    (_DAMAGED, 0xFFFD, 0xFFFF),  # what decoders put for broken bytes
    (_DAMAGED, 0xF0000, 0x10FFFF),
)


class CharacterCounts(NamedTuple):
    """Characters by kind."""

    other: int
    hiragana: int
    katakana: int
    kanji: int
    japanese_punctuation: int
    space: int
    damaged: int
    """Replacement characters, control characters, 〓 and private use."""

    @property
    def japanese(self) -> int:
        """Kana, kanji and Japanese punctuation."""
        return self.hiragana + self.katakana + self.kanji + self.japanese_punctuation

    @property
    def visible(self) -> int:
        """All but white space."""
        return sum(self) - self.space


@lru_cache(maxsize=1)
def count_characters(text: str) -> CharacterCounts:
    """Count them; the last text's counts are kept for the next rule.

    >>> count_characters("舟とボート、boat.").japanese, count_characters("a b").visible
    (6, 2)
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return CharacterCounts(*np.bincount(_kinds()[codes], minlength=len(CharacterCounts._fields)).tolist())


@cache
def _kinds() -> NDArray[np.uint8]:
    kinds = np.zeros(0x110000, np.uint8)
    for kind, first, last in _RANGES:
        kinds[first : last + 1] = kind
    return kinds
