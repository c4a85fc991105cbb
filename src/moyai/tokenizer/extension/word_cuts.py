"""Where no new piece may cross: between scripts, around digits and white space, at the ends of words if asked for.

The rules are those by which SentencePiece's trainer admits a piece: no white space but one space at its front, one
script (kanji, hiragana and katakana count as one), marks with the letter they stand on.  Digits stay on their own, apart
from a space before them and marks on them too.

Source: `TrainerInterface::IsValidSentencePiece` in `src/trainer_interface.cc` of SentencePiece.  A script is read off
the Unicode name of a letter here, runs of white space may be pieces too, and there a space may go with a digit.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

_WHITE, _DIGIT, _SYMBOL, _APART, _MARK, _FIRST_SCRIPT = 0, 1, 2, 3, 4, 5
_SPACE = 0x20
# Words before the script in the names of letters, and names of scripts that are written together.
_WIDTHS = {"HALFWIDTH", "FULLWIDTH", "MODIFIER", "LETTER"}
_JAPANESE = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "VERTICAL"}
_ZERO_WIDTH_JOINER = "\u200d"


class _Classes:
    """The class of each code point, found when it is first met."""

    def __init__(self) -> None:
        self._table = np.full(0x110000, -1, np.int16)
        self._scripts: dict[str, int] = {}

    def __call__(self, code_points: NDArray[np.uint32]) -> NDArray[np.int16]:
        classes = self._table[code_points]
        if (classes < 0).any():
            for code_point in np.unique(code_points[classes < 0]):
                self._table[code_point] = self._class_of(chr(code_point))
            classes = self._table[code_points]
        return classes

    def _class_of(self, char: str) -> int:
        category = unicodedata.category(char)
        if category[0] == "Z" or char in "\t\n\v\f\r\x85":
            return _WHITE
        if category[0] == "N":
            return _DIGIT
        if category[0] == "M" or char == _ZERO_WIDTH_JOINER:
            return _MARK
        if category[0] in "PS":
            return _SYMBOL
        if category[0] == "C":
            return _APART
        words = unicodedata.name(char, "").split() or [""]
        script = next((word for word in words if word not in _WIDTHS), "")
        script = "CJK" if script in _JAPANESE else script
        return self._scripts.setdefault(script, _FIRST_SCRIPT + len(self._scripts))


@cache
def _classes() -> _Classes:
    return _Classes()


def cuts(code_points: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Whether a cut is before each character of a text, [num_characters].

    >>> text = "1２ Boatは 舟 3、\u304b\u3099\u3002"
    >>> where = cuts(np.frombuffer(text.encode("utf-32-le"), np.uint32))
    >>> "|".join(text[start:stop] for start, stop in zip(np.flatnonzero(where), [*np.flatnonzero(where)[1:], None]))
    '1|２| Boat|は| 舟| |3|、|か\u3099|。'
    """
    classes = _classes()(code_points)
    is_mark = classes == _MARK
    # A mark is of the class of what it stands on.
    place = np.maximum.accumulate(np.where(is_mark, 0, np.arange(len(classes))))
    classes = classes[place]
    before, after = classes[:-1], classes[1:]
    cut = (before != after) | (after == _DIGIT) | (after == _APART)
    is_space = code_points == _SPACE
    single = is_space[:-1] & np.concatenate([[True], before[:-1] != _WHITE])[: len(before)]
    cut &= ~(single & (after != _WHITE) & (after != _DIGIT))
    # The last space of several goes with what follows.
    follows = np.concatenate([after[1:] != _WHITE, [False]])[: len(after)]
    cut |= is_space[1:] & (before == _WHITE) & follows & (after == _WHITE)
    cut &= ~(is_mark[1:] & (after != _DIGIT))
    return np.concatenate([[True], cut])[: len(classes)]


def may_be_piece(text: str, max_characters: int) -> bool:
    """Whether a text may be a piece: not too long, with no cut inside.

    >>> may_be_piece(" 舟", 4), may_be_piece("舟 ", 4), may_be_piece("12", 4), may_be_piece("舟" * 5, 4)
    (True, False, False, False)
    """
    if len(text) > max_characters:
        return False
    code_points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return not cuts(code_points)[1:].any()
