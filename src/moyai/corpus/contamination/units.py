"""Text as units in which shared runs are counted: its characters, or its words.

Between units may stand anything that is neither letter nor digit: spaces, punctuation, line ends, marks of a layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moyai.corpus.folding import JAPANESE

# Odd, so that they have an inverse modulo 2^64; two, so that the letters of a word and the units of a run do not mix.
_OF_LETTERS = 0x9E3779B97F4A7C15
_OF_UNITS = 0xD6E8FEB86659FD93
_BLOCK = 1 << 16


class Units(NamedTuple):
    """The units of a text, in order."""

    hashes: NDArray[np.uint64]
    """One for each unit, the same wherever it stands."""
    starts: NDArray[np.int64]
    """Where each begins in the folded text."""
    stops: NDArray[np.int64]


def characters_of(folded: NDArray[np.uint32]) -> Units:
    """Each letter and digit of a folded text is a unit.

    >>> from moyai.corpus.folding import fold
    >>> characters_of(fold("半角 ｶﾅ!")).starts.tolist()
    [0, 1, 3, 4]
    """
    starts = np.flatnonzero(folded)
    return Units(folded[starts].astype(np.uint64), starts, starts + 1)


def words_of(folded: NDArray[np.uint32]) -> Units:
    """Each word of a folded text is a unit: letters and digits that stand together, either all Japanese or none.

    >>> from moyai.corpus.folding import fold
    >>> units = words_of(fold("half-width ｶﾅ, C++17で書く"))
    >>> units.starts.tolist(), units.stops.tolist()
    ([0, 5, 11, 15, 18, 20], [4, 10, 13, 16, 20, 23])
    """
    parts = [_words(block, start) for start, block in _blocks(folded)]
    if len(parts) == 1:
        return parts[0]
    empty = np.empty(0, np.int64)
    hashes = np.concatenate([np.empty(0, np.uint64), *(part.hashes for part in parts)])
    starts = np.concatenate([empty, *(part.starts for part in parts)])
    stops = np.concatenate([empty, *(part.stops for part in parts)])
    return Units(hashes, starts, stops)


def window_hashes(hashes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """A hash for each run of `length` units, uint64 [units − length + 1].

    >>> short, long = np.array([1, 2, 3], np.uint64), np.array([3, 1, 2, 3], np.uint64)
    >>> window_hashes(short, 3)[0] == window_hashes(long, 3)[1]
    np.True_
    """
    num_windows = max(0, len(hashes) - length + 1)
    found = np.empty(num_windows, np.uint64)
    for start in range(0, num_windows, _BLOCK):
        stop = min(start + _BLOCK, num_windows)
        begins = np.arange(stop - start)
        found[start:stop] = _sums(hashes[start : stop + length - 1], begins, begins + length, _OF_UNITS)
    return found


def _words(folded: NDArray[np.uint32], offset: int) -> Units:
    letters, japanese = folded != 0, folded >= JAPANESE
    inner = letters[1:] & letters[:-1] & (japanese[1:] == japanese[:-1])
    begins, ends = letters.copy(), letters.copy()
    begins[1:] &= ~inner
    ends[:-1] &= ~inner
    starts, stops = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    hashes = _sums(folded.astype(np.uint64), starts, stops, _OF_LETTERS)
    return Units(hashes, starts + offset, stops + offset)


def _blocks(folded: NDArray[np.uint32]) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Pieces that end between units, so that memory does not grow with the text; a longer word is cut."""
    start = 0
    while start < len(folded):
        block = folded[start : start + _BLOCK]
        if start + _BLOCK < len(folded):
            between = np.flatnonzero((block == 0) | (block >= JAPANESE))
            block = block[: between[-1] + 1] if len(between) else block
        yield start, block
        start += len(block)


def _sums(
    values: NDArray[np.uint64], starts: NDArray[np.int64], stops: NDArray[np.int64], multiplier: int
) -> NDArray[np.uint64]:
    """For each piece the sum of values[start + k] · multiplier^k, modulo 2^64."""
    powers, inverses = _powers(multiplier, 1 << len(values).bit_length())
    total = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers[: len(values)], out=total[1:])
    return (total[stops] - total[starts]) * inverses[starts]


@cache
def _powers(multiplier: int, count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first powers of an odd number and of its inverse, modulo 2^64."""
    factors = np.full((2, count), [[multiplier], [pow(multiplier, -1, 1 << 64)]], np.uint64)
    factors[:, 0] = 1
    powers, inverses = np.cumprod(factors, axis=1)
    return powers, inverses
