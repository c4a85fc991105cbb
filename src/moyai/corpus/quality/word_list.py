"""Finding the words of a long list in a text that has no spaces between words."""

from __future__ import annotations

import re
from collections.abc import Collection

_KATAKANA = "ァ-ヴー"


def words_pattern(words: Collection[str]) -> re.Pattern[str]:
    """What matches any of the words, the longest at a place; one in katakana only where no other katakana touches it.

    Words that begin alike share their beginning in the expression, so it is several times as fast as one that lists
    them.

    >>> words_pattern(["舟", "舟歌", "ボート", "vat"]).findall("舟歌とボートとボートハウス")
    ['舟歌', 'ボート']
    """
    katakana = {word for word in words if re.fullmatch(f"[{_KATAKANA}]+", word)}
    others = set(words) - katakana
    found = [_tree(others)] if others else []
    if katakana:
        found.append(f"(?<![{_KATAKANA}]){_tree(katakana)}(?![{_KATAKANA}])")
    first = "".join(re.escape(character) for character in sorted({word[0] for word in words}))
    return re.compile(f"(?=[{first}])(?:{'|'.join(found)})")


def _tree(words: Collection[str]) -> str:
    """An expression for words that are all longer than nothing."""
    rests: dict[str, set[str]] = {}
    for word in words:
        rests.setdefault(word[0], set()).add(word[1:])
    branches = []
    for character, endings in sorted(rests.items()):
        longer = endings - {""}
        rest = _tree(longer) if longer else ""
        branches.append(re.escape(character) + (f"(?:{rest})?" if rest and "" in endings else rest))
    return f"(?:{'|'.join(branches)})"
