"""Learning joins of neighbouring tokens: byte-pair encoding that starts from the tokens of another tokenizer.

Words are sequences of symbols.  A symbol is a token of the base tokenizer, or a character that the base has no piece
for and cuts into bytes; such a character must become a piece of its own before it can be part of one.  In each step
the piece is taken that saves most tokens: a join saves one wherever its two halves stand side by side, a character
of n bytes saves n - 1.  A character saves at least as much as any join with it, so it is always there in time.

As in SentencePiece, a piece is made of *any* two neighbours whose texts add up to it; so each new piece is looked
for under all its splits, and a join that only spells a piece which is there already costs nothing and is done at once.

The counts that wait are upper bounds, because a join only takes neighbours away from other pairs; a pair's places are
looked up and counted when its turn comes.  The places of a pair are found among those of its rarer half.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.progress import Bar
from moyai.tokenizer.extension.words import Words

_JOINED = -2
_ALONE = -1
"""In place of a right half: the candidate is a character on its own."""
_HASH_BASE = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


class Learner:
    """The words as they are joined by what was learnt so far."""

    def __init__(
        self,
        words: Words,
        *,
        existing: frozenset[str],
        closed: bool,
        allows: Callable[[str], bool],
        min_frequency: int,
        num_pieces: int,
    ) -> None:
        """Make ready to learn.

        Args:
            words: what to learn on.
            existing: pieces of the base that joins can make.
            closed: whether a join that spells one of these is done (SentencePiece does), or is never a candidate.
            allows: whether a text may be a piece.
            min_frequency: what occurs less often is no piece.
            num_pieces: about how many pieces will be asked for.
        """
        self._min_frequency = min_frequency
        self._allows = allows
        self._existing = existing
        self._joinable = set(existing) if closed else set[str]()
        self._texts = [symbol.text for symbol in words.symbols]
        self._ids = [symbol.ids for symbol in words.symbols]
        self._is_piece = [symbol.is_piece for symbol in words.symbols]
        self._symbol_of = {text: number for number, text in enumerate(self._texts)}
        self._sequence = words.sequence.copy()
        self._counts = words.counts
        self._next = np.arange(1, len(self._sequence) + 1, dtype=np.int32)
        self._previous = np.arange(-1, len(self._sequence) - 1, dtype=np.int32)
        self._hashes = np.array([_hash(text) for text in self._texts], np.uint64)
        self._powers = np.array([_power(text) for text in self._texts], np.uint64)
        self._known_hashes = np.sort(np.array([_hash(text) for text in self._joinable], np.uint64))
        self._places = self._first_places()
        self._heap: list[tuple[int, int, int]] = []
        self._waiting = array("q")
        self._threshold = max(min_frequency, int(self._counts[self._sequence >= 0].sum()) // (16 * max(num_pieces, 1)))
        self._first_candidates()
        self.pieces: dict[str, tuple[int, ...]] = {}
        """Each new piece, in the order learnt, to the base ids that it replaces."""
        self.halves: dict[str, tuple[str, str]] = {}
        """What each piece of several symbols was joined from when it was learnt."""
        self.last_saving = 0
        """Tokens saved by the piece learnt last; the next saves no more."""

    def learn(self, num_pieces: int, bar: Bar) -> None:
        """Go on until there are `num_pieces` pieces, or no candidate is left."""
        while len(self.pieces) < num_pieces and self._has_candidates():
            bound, left, right = heapq.heappop(self._heap)
            if right == _ALONE:
                self.pieces[self._texts[left]] = self._ids[left]
                self._is_piece[left] = True
                self.last_saving = -bound
                bar.advance(1)
                continue
            text = self._texts[left] + self._texts[right]
            if text in self._existing or text in self.pieces or not (self._is_piece[left] and self._is_piece[right]):
                continue
            if not self._allows(text):
                continue
            pairs = self._splits(text)
            saved = sum(int(self._counts[self._places_of(*pair)].sum()) for pair in pairs)
            if saved >= max(-bound, self._min_frequency):
                self.pieces[text] = self._ids[left] + self._ids[right]
                self.halves[text] = self._texts[left], self._texts[right]
                self.last_saving = saved
                self._make_joinable(text)
                self._join_all(pairs)
                bar.advance(1)
            else:
                self._offer(np.array([left]), np.array([right]), np.array([saved]))

    def num_tokens(self) -> int:
        """Tokens of the words as they stand."""
        alive = self._sequence >= 0
        lengths = np.array([1 if piece else len(ids) for piece, ids in zip(self._is_piece, self._ids, strict=True)])
        return int((self._counts[alive] * lengths[self._sequence[alive]]).sum())

    def piece_counts(self) -> dict[str, int]:
        """How often each new piece stands in the words as they are cut now."""
        alive = self._sequence >= 0
        counts = np.bincount(self._sequence[alive], weights=self._counts[alive], minlength=len(self._texts))
        return {text: int(counts[self._symbol_of[text]]) for text in self.pieces}

    def _first_places(self) -> list[NDArray[np.int32]]:
        order = np.argsort(self._sequence, kind="stable").astype(np.int32)
        bounds = np.searchsorted(self._sequence[order], np.arange(len(self._texts) + 1))
        return [order[start:stop] for start, stop in pairwise(bounds)]

    def _first_candidates(self) -> None:
        left, right = self._sequence[:-1], self._sequence[1:]
        real = (left >= 0) & (right >= 0)
        keys = left[real].astype(np.int64) << 32 | right[real]
        unique, saved = _totals(keys, self._counts[:-1][real])
        self._offer(unique >> 32, unique & 0xFFFFFFFF, saved)
        for number, is_piece in enumerate(self._is_piece):
            occurrences = 0 if is_piece else int(self._counts[self._places[number]].sum())
            if occurrences >= self._min_frequency and self._allows(self._texts[number]):
                gain = occurrences * (len(self._ids[number]) - 1)
                self._offer(np.array([number]), np.array([_ALONE]), np.array([gain]))

    def _offer(self, left: NDArray[np.int64], right: NDArray[np.int64], saved: NDArray[np.int64]) -> None:
        """Put candidates where they wait: the likely ones into the heap, the others packed behind it."""
        now = saved >= self._threshold
        for candidate in zip((-saved[now]).tolist(), left[now].tolist(), right[now].tolist(), strict=True):
            heapq.heappush(self._heap, candidate)
        later = ~now & (saved >= self._min_frequency)
        if later.any():
            packed = np.stack([-saved[later], left[later], right[later]], axis=1).astype(np.int64)
            self._waiting.frombytes(packed.tobytes())

    def _has_candidates(self) -> bool:
        """Whether there is one; when the heap is empty, the best of those that wait move into it."""
        while not self._heap and self._waiting:
            self._threshold = max(self._min_frequency, self._threshold // 4)
            waiting = np.frombuffer(self._waiting.tobytes(), np.int64).reshape(-1, 3)
            self._waiting = array("q")
            self._offer(waiting[:, 1], waiting[:, 2], -waiting[:, 0])
        return bool(self._heap)

    def _places_of(self, left: int, right: int) -> NDArray[np.int32]:
        """Where `left` stands before `right`; of overlapping places the first, as from left to right."""
        places: NDArray[np.int32]
        if len(self._places[left]) <= len(self._places[right]):
            places = self._alive(left)
            places = places[self._sequence[self._next[places]] == right]
        else:
            places = self._previous[self._alive(right)]
            places = places[self._sequence[places] == left]
        return places if left != right else self._not_overlapping(np.sort(places))

    def _not_overlapping(self, places: NDArray[np.int32]) -> NDArray[np.int32]:
        """Of places in order, where a symbol stands before itself, every second one of a run."""
        follows = np.flatnonzero(self._next[places[:-1]] == places[1:]) + 1
        if not len(follows):
            return places
        is_first = np.ones(len(places), bool)
        is_first[follows] = False
        numbers = np.arange(len(places))
        in_run = numbers - np.maximum.accumulate(np.where(is_first, numbers, 0))
        kept: NDArray[np.int32] = places[in_run % 2 == 0]
        return kept

    def _alive(self, symbol: int) -> NDArray[np.int32]:
        """The symbol's places, those forgotten where it was joined since."""
        places = self._places[symbol]
        alive = self._sequence[places] == symbol
        if not alive.all():
            places = self._places[symbol] = places[alive]
        return places

    def _splits(self, text: str) -> list[tuple[int, int]]:
        """All ways to make the text of two symbols."""
        numbers = self._symbol_of
        halves = ((text[:cut], text[cut:]) for cut in range(len(text) - 1, 0, -1))
        return [(numbers[left], numbers[right]) for left, right in halves if left in numbers and right in numbers]

    def _make_joinable(self, text: str) -> None:
        self._joinable.add(text)
        value = np.uint64(_hash(text))
        self._known_hashes = np.insert(self._known_hashes, np.searchsorted(self._known_hashes, value), value)

    def _join_all(self, pairs: list[tuple[int, int]]) -> None:
        """Join these pairs wherever they stand, and what can be joined for nothing after that."""
        pending = pairs[::-1]
        while pending:
            left, right = pending.pop()
            places = self._places_of(left, right)
            if len(places):
                joined = self._number_of(left, right)
                self._join(joined, places)
                pending += self._new_pairs(joined, places)

    def _join(self, joined: int, places: NDArray[np.int32]) -> None:
        behind = self._next[places]
        after = self._next[behind]
        self._sequence[places] = joined
        self._sequence[behind] = _JOINED
        self._next[places] = after
        self._previous[after] = places
        here = self._alive(joined)
        self._places[joined] = np.union1d(here, places) if len(here) else places

    def _new_pairs(self, joined: int, places: NDArray[np.int32]) -> list[tuple[int, int]]:
        """Offer the pairs with the neighbours of `places`; returns those that spell a piece which is there."""
        before, after = self._previous[places], self._next[places]
        counts = self._counts[places]
        free = []
        for neighbours, is_left in ((self._sequence[before], True), (self._sequence[after], False)):
            wanted = (neighbours >= 0) & ((neighbours != joined) | ~np.bool_(is_left))
            others, saved = _totals(neighbours[wanted], counts[wanted])
            if not len(others):
                continue
            itself = np.full(len(others), joined)
            left, right = (others, itself) if is_left else (itself, others)
            free += [pair for pair in self._respelling(left, right) if pair not in free]
            self._offer(left, right, saved)
        return free

    def _respelling(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Those pairs whose texts add up to a piece that is there and may be joined."""
        if not len(self._known_hashes):
            return []
        hashes = self._hashes[left] * self._powers[right] + self._hashes[right]
        at = np.minimum(np.searchsorted(self._known_hashes, hashes), len(self._known_hashes) - 1)
        hits = np.flatnonzero(self._known_hashes[at] == hashes)
        pairs = [(int(left[hit]), int(right[hit])) for hit in hits]
        return [
            (first, second)
            for first, second in pairs
            if self._is_piece[first] and self._is_piece[second]
            if self._texts[first] + self._texts[second] in self._joinable
        ]

    def _number_of(self, left: int, right: int) -> int:
        """The symbol that two join to."""
        text = self._texts[left] + self._texts[right]
        number = self._symbol_of.get(text)
        if number is None:
            number = self._symbol_of[text] = len(self._texts)
            self._texts.append(text)
            self._ids.append(self._ids[left] + self._ids[right])
            self._is_piece.append(True)
            self._places.append(np.empty(0, np.int32))
            if number == len(self._hashes):
                room = np.zeros(max(1024, number), np.uint64)
                self._hashes, self._powers = (np.concatenate([a, room]) for a in (self._hashes, self._powers))
            self._hashes[number], self._powers[number] = _hash(text), _power(text)
        return number


def _totals(keys: NDArray[np.integer[Any]], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different keys, in order, and the sum of the counts of each."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    sums = np.add.reduceat(counts[order], starts) if len(keys) else np.empty(0, np.int64)
    return keys[starts].astype(np.int64), sums


def _hash(text: str) -> int:
    """A number for a text that can be found from those of its halves."""
    value = 0
    for char in text:
        value = (value * _HASH_BASE + ord(char) + 1) & _WORD
    return value


def _power(text: str) -> int:
    return pow(_HASH_BASE, len(text), _WORD + 1)
