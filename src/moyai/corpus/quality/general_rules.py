"""Rules for text of any language; each is true for a text that is to be dropped."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from moyai.corpus.quality.character_counts import count_characters

_BULLETS = ("-", "*", "•", "・", "●", "◆", "■", "▼", "※")
_ELLIPSES = ("...", "…", "・・・")
# A page needs this many lines before their shares mean anything.
_FEW_LINES = 5
_LONG_RUN = re.compile(r"([^\s])\1{199}")


def garbled(text: str) -> bool:
    """More than 1 in 200 characters is lost: replacement characters, control characters, 〓, private use."""
    counts = count_characters(text)
    return counts.damaged > 0.005 * counts.visible


def short_lines(text: str, *, characters: int) -> bool:
    """More than two thirds of the lines have at most so many characters, and hold more than half of the text, as in menus.

    Source: FineWeb (arXiv 2406.17557), 0.67 of lines of 30 characters; in Japanese 10 say as much (HojiChar's
    DiscardTooShortLines, which takes the empty lines between paragraphs for short ones and is therefore not used).
    That they hold half of the text is our own condition: without it reference pages go for their headings.
    """
    lines = _lines(text)
    short = [len(line) for line in lines if len(line) <= characters]
    return len(lines) >= _FEW_LINES and len(short) > 0.67 * len(lines) and sum(short) > 0.5 * sum(map(len, lines))


def bullet_list(text: str) -> bool:
    """More than 90 % of the lines begin with a bullet.  Source: Gopher (arXiv 2112.11446, appendix A.1.1)."""
    lines = _lines(text)
    return len(lines) >= _FEW_LINES and sum(line.startswith(_BULLETS) for line in lines) > 0.9 * len(lines)


def cut_lines(text: str) -> bool:
    """More than 30 % of the lines end in an ellipsis, as teasers of other pages do.  Source: Gopher, as above."""
    lines = _lines(text)
    return len(lines) >= _FEW_LINES and sum(line.endswith(_ELLIPSES) for line in lines) > 0.3 * len(lines)


def repeated_lines(text: str, *, share: float) -> bool:
    """More than this share of the characters is in lines that stood there before.

    Source: Gopher, table A1, where it is 0.2.  Its other threshold, 30 % of the lines whatever their length, is left
    out: it drops reference pages for their headings, and verse for its refrain.
    """
    lines = _lines(text)
    repeated = sum(len(line) * (times - 1) for line, times in Counter(lines).items())
    return repeated > share * sum(map(len, lines))


def repeated_character(text: str) -> bool:
    """One character stands 200 times in a row.  Source: HojiChar's SingleCharacterRepetitionFilter."""
    return _LONG_RUN.search(text) is not None


@lru_cache(maxsize=1)
def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line]
