"""New rows by FOCUS: sums of the rows of old pieces that stand in like surroundings.

How alike the surroundings are is told by an auxiliary space in which old and new pieces both have a vector, made of
text cut by the extended tokenizer.  The weights are the sparsemax of a new piece's cosines with all old pieces, so
most are zero and the others add up to 1.

Source: Dobler and de Melo 2023, arXiv 2305.14481, section 3.  There the auxiliary vectors are fastText's and the old
model's vocabulary is replaced.  Here the old pieces all stay, and the vectors are the positive pointwise mutual
information of a piece with its 2,000 most frequent neighbours, reduced by singular value decomposition (Levy et al.
2015, TACL 3, with context distribution smoothing 0.75 and singular values to the power 0.5), which needs no training.

Shape letters: P pieces that occur, N new ones, O old ones, C neighbours that count, D dimensions of the space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.new_rows import NewRows

_WINDOW = 5
_NUM_CONTEXTS = 2000
_DIMENSIONS = 300
_SMOOTHING = 0.75
# Fewer occurrences say little of the surroundings of an old piece.
_LEAST_COUNT = 20
# Bounds what the pairs take to some 500 MB.
_MAX_TOKENS = 1_000_000
_ROWS_AT_A_TIME = 1024
_NOWHERE = -1


def focus_rows(
    texts: Sequence[NDArray[np.int64]], replaced: Sequence[Sequence[int]], *, num_base_rows: int
) -> NewRows | None:
    """New rows by FOCUS; None where too few old pieces occur in the text.

    A piece that does not occur is the mean of what it replaces.

    Args:
        texts: ids of the extended tokenizer; a million of them count.
        replaced: of each new piece, the old ones that it replaces.
        num_base_rows: the first new id.
    """
    pairs = _count_pairs(texts, num_base_rows + len(replaced))
    old_O = np.flatnonzero(pairs.counts_P[:num_base_rows] >= _LEAST_COUNT)
    if len(old_O) < 2:
        return None
    places = _Space(pairs)
    old_OD = places.vectors(old_O)
    ids: list[NDArray[np.int64]] = []
    weights: list[NDArray[np.float32]] = []
    for start in range(0, len(replaced), _ROWS_AT_A_TIME):
        new = np.arange(start, min(start + _ROWS_AT_A_TIME, len(replaced)))
        shares_NO = sparsemax(places.vectors(num_base_rows + new) @ old_OD.T)
        for number, shares_O in zip(new.tolist(), shares_NO, strict=True):
            if pairs.counts_P[num_base_rows + number]:
                chosen = np.flatnonzero(shares_O)
                ids.append(old_O[chosen])
                weights.append(shares_O[chosen])
            else:
                parts = np.array(replaced[number], np.int64)
                ids.append(parts)
                weights.append(np.full(len(parts), 1 / len(parts), np.float32))
    return NewRows.sums(ids, weights)


def sparsemax(scores_NO: NDArray[np.float32]) -> NDArray[np.float32]:
    """The point of the simplex that is nearest to each row.

    Source: Martins and Astudillo 2016, arXiv 1602.02068, algorithm 1.

    >>> sparsemax(np.array([[0.5, 0.25, -2.0]], np.float32)).tolist()
    [[0.625, 0.375, 0.0]]
    """
    sorted_NO = -np.sort(-scores_NO, axis=1)
    excess_NO = np.cumsum(sorted_NO, axis=1) - 1
    ranks_O = np.arange(1, scores_NO.shape[1] + 1, dtype=np.float32)
    support_N = (sorted_NO * ranks_O > excess_NO).sum(1)
    threshold_N = excess_NO[np.arange(len(scores_NO)), support_N - 1] / support_N
    shares: NDArray[np.float32] = np.maximum(scores_NO - threshold_N[:, None], 0).astype(np.float32)
    return shares


@dataclass(frozen=True)
class _Pairs:
    """How often pieces stand near each other, sorted by piece and neighbour."""

    counts_P: NDArray[np.int64]
    """How often each id occurs."""
    num_contexts: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    numbers: NDArray[np.int64]


def _count_pairs(texts: Sequence[NDArray[np.int64]], num_ids: int) -> _Pairs:
    gap = np.full(_WINDOW, _NOWHERE, np.int64)
    kept: list[NDArray[np.int64]] = []
    num_tokens = 0
    for text in texts:
        kept += [text[: _MAX_TOKENS - num_tokens], gap]
        num_tokens += len(kept[-2])
        if num_tokens == _MAX_TOKENS:
            break
    tokens = np.concatenate([*kept, gap])
    counts_P = np.bincount(tokens[tokens >= 0], minlength=num_ids)
    contexts_C = np.argsort(-counts_P, kind="stable")[: min(_NUM_CONTEXTS, int((counts_P > 0).sum()))]
    column_of = np.full(num_ids + 1, _NOWHERE, np.int64)  # the last is that of `_NOWHERE` itself
    column_of[contexts_C] = np.arange(len(contexts_C))
    found = []
    for distance in range(1, _WINDOW + 1):
        for near, far in ((tokens[:-distance], tokens[distance:]), (tokens[distance:], tokens[:-distance])):
            columns = column_of[far]
            both = (near >= 0) & (columns >= 0)
            found.append(np.unique(near[both] * len(contexts_C) + columns[both], return_counts=True))
    keys, places = np.unique(np.concatenate([keys for keys, _ in found]), return_inverse=True)
    numbers = np.bincount(places, np.concatenate([counts for _, counts in found])).astype(np.int64)
    rows, columns = np.divmod(keys, max(1, len(contexts_C)))
    return _Pairs(counts_P, len(contexts_C), rows, columns, numbers)


class _Space:
    """The auxiliary space: vectors of length 1, 0 for pieces that have no neighbour."""

    def __init__(self, pairs: _Pairs) -> None:
        self._pairs = pairs
        rows_P = np.bincount(pairs.rows, pairs.numbers, len(pairs.counts_P))
        columns_C = np.bincount(pairs.columns, pairs.numbers, pairs.num_contexts) ** _SMOOTHING
        columns_C /= columns_C.sum()
        expected = rows_P[pairs.rows] * columns_C[pairs.columns]
        self._information = np.maximum(np.log(pairs.numbers / expected), 0).astype(np.float32)
        squares_CC = np.zeros((pairs.num_contexts, pairs.num_contexts), np.float32)
        for _, part_PC in self._parts(np.flatnonzero(rows_P)):
            squares_CC += part_PC.T @ part_PC
        # The right singular vectors of a matrix are the eigenvectors of its square, which is small.
        values, vectors_CC = np.linalg.eigh(squares_CC)
        chosen = np.argsort(-values, kind="stable")[:_DIMENSIONS]
        self._project_CD = vectors_CC[:, chosen] / np.maximum(values[chosen], 1e-6) ** 0.25

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of the pieces `ids`, which are sorted, [len(ids), D]."""
        found = np.concatenate([part_PC @ self._project_CD for _, part_PC in self._parts(ids)])
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        scaled: NDArray[np.float32] = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
        return scaled

    def _parts(self, ids: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Some of the ids at a time, and the information that each has of each neighbour."""
        for start in range(0, len(ids), _ROWS_AT_A_TIME):
            part = ids[start : start + _ROWS_AT_A_TIME]
            first = np.searchsorted(self._pairs.rows, part[0])
            last = np.searchsorted(self._pairs.rows, part[-1], side="right")
            rows = self._pairs.rows[first:last]
            places = np.searchsorted(part, rows)
            here = part[places] == rows
            part_PC = np.zeros((len(part), self._pairs.num_contexts), np.float32)
            part_PC[places[here], self._pairs.columns[first:last][here]] = self._information[first:last][here]
            yield part, part_PC
