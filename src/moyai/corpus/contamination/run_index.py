"""Finding runs that a text shares with any of many texts, however many there are.

Of each indexed text only short pieces ("seeds") are looked up, at such distances from each other that every run long
enough to count holds one whole.  Where a seed is met, the two texts are compared unit by unit to both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moyai.corpus.contamination.units import window_hashes

_FILTER_ENTRIES_PER_SEED = 16
_BLOCK = 1 << 14


class IndexedTexts(NamedTuple):
    """Texts of one kind, one after the other."""

    hashes: NDArray[np.uint64]
    """[units] of all texts, as `units_of` gives them."""
    lengths: NDArray[np.int64]
    """[texts] units of each."""
    own: NDArray[np.bool_]
    """[units] whether the run that begins here and is as long as a hit counts for its text."""


class SharedRun(NamedTuple):
    """A run that stands both in an indexed text and in the text that was looked through."""

    indexed_text: int
    start: int
    """First unit in the text that was looked through."""
    stop: int


@dataclass(frozen=True)
class RunIndex:
    """Looks for runs of at least `run` units of the indexed texts; a shorter text must stand there whole."""

    run: int
    seed: int
    """Units in a seed; no indexed text is shorter."""
    _texts: NDArray[np.uint64]
    """All units, with zeros, which are no unit's hash, around each text."""
    _text_starts: NDArray[np.int64]
    """[texts] where each begins in `_texts`."""
    _needed: NDArray[np.int64]
    """[texts] units of a hit."""
    _num_own: NDArray[np.int64]
    """How many runs that count begin before each place of `_texts`."""
    _seeds: NDArray[np.uint64]
    """Their hashes, each once, sorted."""
    _seed_ends: NDArray[np.int64]
    """[seeds + 1] where the places of each begin and end in `_seed_places`."""
    _seed_places: NDArray[np.int64]
    _filter: NDArray[np.bool_]
    """Whether any seed's hash begins with these bits."""

    @classmethod
    def of(cls, texts: IndexedTexts, *, run: int, seed: int) -> RunIndex:
        """The index of texts of at least `seed` units each; `seed` is at most `run`."""
        assert seed <= run
        assert texts.lengths.min(initial=seed) >= seed
        margin = run - seed + 1
        starts = np.cumsum(texts.lengths) - texts.lengths
        # a zero after each text, and before the first and after the last as far as a comparison may reach
        shifts = np.repeat(np.arange(len(starts)), texts.lengths) + margin
        padded = np.zeros(len(texts.hashes) + len(starts) + 2 * margin, np.uint64)
        padded[np.arange(len(texts.hashes)) + shifts] = texts.hashes
        own = np.zeros(len(padded) + 1, np.int64)
        own[1:][np.arange(len(texts.hashes)) + shifts] = texts.own
        num_own = np.cumsum(own)
        starts = starts + np.arange(len(starts)) + margin
        needed = np.minimum(texts.lengths, run)
        # so close that any `needed` units of a text hold a seed whole
        strides = needed - seed + 1
        places = spread(starts, (texts.lengths - seed) // strides + 1, strides)
        text_of = np.searchsorted(starts, places, side="right") - 1
        # seeds of runs that do not count are left out, or each text with a stock phrase would meet all that have it
        earliest = np.maximum(starts[text_of], places + seed - needed[text_of])
        places = places[num_own[places + 1] > num_own[earliest]]
        hashes = window_hashes(padded, seed)[places]
        places = places[np.argsort(hashes, kind="stable")]
        seeds, counts = np.unique(hashes, return_counts=True)
        bits = max(1, (len(seeds) * _FILTER_ENTRIES_PER_SEED).bit_length())
        filter_ = np.zeros(1 << bits, np.bool_)
        filter_[seeds >> np.uint64(64 - bits)] = True
        ends = np.concatenate([[0], np.cumsum(counts)])
        return cls(run, seed, padded, starts, needed, num_own, seeds, ends, places, filter_)

    def shared_runs(self, hashes: NDArray[np.uint64]) -> list[SharedRun]:
        """The longest shared runs, ordered by indexed text and place.

        Args:
            hashes: units of a text, uint64 [units].
        """
        windows = window_hashes(hashes, self.seed)
        bits = len(self._filter).bit_length() - 1
        starts = np.flatnonzero(self._filter.take(windows >> np.uint64(64 - bits)))
        seeds = np.searchsorted(self._seeds, windows[starts])
        met = self._seeds.take(seeds, mode="clip") == windows[starts]
        starts, seeds = starts[met], seeds[met]
        # in blocks: a text that says the same again and again meets the same seeds again and again
        parts = (slice(start, start + _BLOCK) for start in range(0, len(starts), _BLOCK))
        pieces = _merged([self._met(hashes, starts[part], seeds[part]) for part in parts])
        return sorted({self._grown(hashes, *piece) for piece in pieces})

    def _grown(self, hashes: NDArray[np.uint64], text: int, shift: int, start: int, stop: int) -> SharedRun:
        """A run together with what is equal around it, which no seed told of because it counts in no text."""
        while start > 0 and hashes[start - 1] == self._texts[start - 1 - shift]:
            start -= 1
        while stop < len(hashes) and hashes[stop] == self._texts[stop - shift]:
            stop += 1
        return SharedRun(text, start, stop)

    def _met(self, hashes: NDArray[np.uint64], starts: NDArray[np.int64], seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """The runs that count around `seeds` that were met at `starts`, int64 [4, runs], as `_merged` wants them."""
        counts = self._seed_ends[seeds + 1] - self._seed_ends[seeds]
        places = self._seed_places[spread(self._seed_ends[seeds], counts, np.ones_like(counts))]
        starts = np.repeat(starts, counts)
        lefts, rights = self._equal_around(hashes, starts, places)
        texts = np.searchsorted(self._text_starts, places, side="right") - 1
        begins, last = places - lefts, places + rights - self._needed[texts]
        count = (last >= begins) & (self._num_own[np.maximum(last, begins) + 1] > self._num_own[begins])
        return np.stack([texts, starts - places, starts - lefts, starts + rights])[:, count]

    def _equal_around(
        self, hashes: NDArray[np.uint64], starts: NDArray[np.int64], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many units are equal before each seed, and from its beginning on; as far as a hit needs."""
        reach = self.run - self.seed
        # ones, like the zeros around indexed texts, are no unit's hash
        padded = np.concatenate([np.ones(reach, np.uint64), hashes, np.ones(reach, np.uint64)])
        ahead = starts + reach
        lefts, rights = np.zeros(len(starts), np.int64), np.full(len(starts), self.seed, np.int64)
        for counts, offsets in ((lefts, range(-1, -reach - 1, -1)), (rights, range(self.seed, self.run))):
            equal = np.ones(len(starts), np.bool_)
            for offset in offsets:
                equal &= padded[ahead + offset] == self._texts[places + offset]
                if not equal.any():
                    break
                np.add(counts, equal, out=counts)
        return lefts, rights


def spread(starts: NDArray[np.int64], counts: NDArray[np.int64], strides: NDArray[np.int64]) -> NDArray[np.int64]:
    """`counts[i]` numbers from `starts[i]` on, `strides[i]` apart, for each i.

    >>> spread(np.array([0, 10]), np.array([2, 3]), np.array([1, 5])).tolist()
    [0, 1, 10, 15, 20]
    """
    nth = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts, counts) + nth * np.repeat(strides, counts)


def _merged(blocks: list[NDArray[np.int64]]) -> list[tuple[int, int, int, int]]:
    """Runs of the same text that lie over each other in the same way are pieces of one run.

    Args:
        blocks: rows are the indexed text, how far it is shifted, and start and stop of the run.
    """
    runs: list[tuple[int, int, int, int]] = []
    for text, shift, start, stop in sorted(run for block in blocks for run in block.T.tolist()):
        if runs and runs[-1][:2] == (text, shift) and start <= runs[-1][3]:
            runs[-1] = (text, shift, runs[-1][2], max(stop, runs[-1][3]))
        else:
            runs.append((text, shift, start, stop))
    return runs
