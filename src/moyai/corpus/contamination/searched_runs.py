"""Which runs of evaluation texts are looked for, counted in characters or in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moyai.corpus.contamination.run_index import IndexedTexts, RunIndex, spread
from moyai.corpus.contamination.units import Units, characters_of, window_hashes, words_of
from moyai.corpus.folding import JAPANESE

_TEMPLATE_ITEMS = 10
_HIRAGANA_START, _HIRAGANA_END = np.array([0x3041, 0x3097], np.uint32) | JAPANESE


class SetTexts(NamedTuple):
    """All texts of one evaluation set."""

    folded: NDArray[np.uint32]
    """The texts one after the other, with at least one separator after each."""
    stops: NDArray[np.int64]
    """[texts] where each ends in `folded`, its separator included."""
    items: NDArray[np.int64]
    """[texts] the item that each is of, ascending."""


class SearchedRuns:
    """Runs of so many units that are looked for; see `evaluation_texts` for the rules."""

    def __init__(self, run: int, *, characters: bool) -> None:
        self.run = run
        self.seed = (run + 1) // 2
        self._characters = characters
        self._units: Callable[[NDArray[np.uint32]], Units] = characters_of if characters else words_of
        self._origins: list[tuple[str, int]] = []
        self._parts: list[IndexedTexts] = []

    def add(self, name: str, texts: SetTexts) -> NDArray[np.int64]:
        """Add a set; returns the items that have a run that is looked for, each once."""
        units = self._units(texts.folded)
        text_of = np.searchsorted(texts.stops, units.starts, side="right")
        lengths = np.bincount(text_of, minlength=len(texts.items))
        has_script, counts_whole = self._scripts(texts)
        chosen = has_script & ((lengths >= self.run) | ((lengths >= self.seed) & counts_whole))
        kept = chosen[text_of]
        hashes, items, lengths = units.hashes[kept], texts.items[chosen], lengths[chosen]
        own = self._own(hashes, texts.folded[units.starts[kept]] >= JAPANESE, lengths, items)
        searched = np.logical_or.reduceat(own, np.cumsum(lengths) - lengths) if len(own) else np.zeros(0, np.bool_)
        if searched.any():
            kept = np.repeat(searched, lengths)
            self._origins += [(name, item) for item in items[searched].tolist()]
            self._parts.append(IndexedTexts(hashes[kept], lengths[searched], own[kept]))
        return np.unique(items[searched])

    def index(self) -> SearchIndex | None:
        """What was added; None: nothing that is looked for."""
        if not self._parts:
            return None
        hashes, lengths, own = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        index = RunIndex.of(IndexedTexts(hashes, lengths, own), run=self.run, seed=self.seed)
        return SearchIndex(index, self._origins, characters=self._characters)

    def _scripts(self, texts: SetTexts) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """[texts] whether one has letters of the script, and whether one that is shorter than a run counts as a whole."""
        text_of = np.repeat(np.arange(len(texts.stops)), np.diff(texts.stops, prepend=0))
        letters = _of_script(texts.folded, self._characters)
        sizes = np.bincount(text_of[letters], minlength=len(texts.stops))
        has_script = sizes > 0
        if self._characters:
            hiragana = (texts.folded >= _HIRAGANA_START) & (texts.folded < _HIRAGANA_END)
            sizes[np.bincount(text_of[hiragana], minlength=len(texts.stops)) == 0] = 0
        longest = np.zeros(texts.items.max(initial=0) + 1, np.int64)
        np.maximum.at(longest, texts.items, sizes)
        return has_script, (sizes == longest[texts.items]) & (sizes > 0)

    def _own(
        self, hashes: NDArray[np.uint64], japanese: NDArray[np.bool_], lengths: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """[units] whether a run begins here that is of the right script and no template."""
        needed = np.minimum(lengths, self.run)
        counts = lengths - needed + 1
        places = spread(np.cumsum(lengths) - lengths, counts, np.ones_like(counts))
        sizes, of_items = np.repeat(needed, counts), np.repeat(items, counts)
        japanese_before = np.concatenate([[0], np.cumsum(japanese)])
        num_japanese = japanese_before[places + sizes] - japanese_before[places]
        right_script = 2 * num_japanese >= sizes if self._characters else num_japanese == 0
        places, sizes, of_items = places[right_script], sizes[right_script], of_items[right_script]
        runs = np.zeros(len(places), np.uint64)
        for size in np.unique(sizes).tolist():
            runs[sizes == size] = window_hashes(hashes, size)[places[sizes == size]]
        own = np.zeros(len(hashes), np.bool_)
        own[places] = _num_items(runs, of_items) <= _TEMPLATE_ITEMS
        return own


class SearchIndex:
    """Finds the runs of `SearchedRuns` in texts."""

    def __init__(self, index: RunIndex, origins: list[tuple[str, int]], *, characters: bool) -> None:
        self._index = index
        self._origins = origins
        self._characters = characters

    def found(self, folded: NDArray[np.uint32]) -> list[FoundRun]:
        """The longest runs that a folded text shares with evaluation texts."""
        # a run that counts has so many letters of the script at least, and most texts have only one script
        if 2 * np.count_nonzero(_of_script(folded, self._characters)) < self._index.seed:
            return []
        units = characters_of(folded) if self._characters else words_of(folded)
        return [
            FoundRun(*self._origins[run.indexed_text], int(units.starts[run.start]), int(units.stops[run.stop - 1]))
            for run in self._index.shared_runs(units.hashes)
        ]


class FoundRun(NamedTuple):
    """A run that an evaluation item shares with a text."""

    set: str
    item: int
    start: int
    """Where it begins in the folded text."""
    stop: int


def _of_script(folded: NDArray[np.uint32], japanese: bool) -> NDArray[np.bool_]:
    is_japanese = folded >= JAPANESE
    return is_japanese if japanese else (folded != 0) & ~is_japanese


def _num_items(runs: NDArray[np.uint64], items: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each run in how many items it stands; those of equal runs are ascending."""
    if not len(runs):
        return np.zeros(0, np.int64)
    order = np.argsort(runs, kind="stable")
    new_run = np.diff(runs[order], prepend=~runs[order[0]]) != 0
    new_item = new_run | (np.diff(items[order], prepend=-1) != 0)
    run_of = np.cumsum(new_run) - 1
    found = np.empty(len(runs), np.int64)
    found[order] = np.bincount(run_of, weights=new_item).astype(np.int64)[run_of]
    return found
