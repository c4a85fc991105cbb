"""Rows of embedding and head for new pieces, made of the rows that are there; a table grows without being held.

Every way of making rows comes to the same: a new row is a weighted sum of old rows, perhaps moved along one direction.

Letters: N new rows, E terms of all sums, H hidden size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.copying import rows_of
from moyai.checkpoint.dtypes import from_float32, to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import PIECE_ELEMENTS, gather_rows, row_length, row_pieces


@dataclass(frozen=True)
class NewRows:
    """How new rows of a table are made of its old ones."""

    starts: NDArray[np.int64]
    """[N + 1]: where the terms of each row begin, and where the last one's end; each row has at least one."""
    ids: NDArray[np.int64]
    """[E]: numbers of old rows."""
    weights: NDArray[np.float32]
    """[E]: what they are multiplied with."""
    steps: NDArray[np.float32] | None = None
    """[N]: how far each row is moved along `direction`."""
    direction: NDArray[np.float32] | None = None
    """[H]."""

    @classmethod
    def sums(cls, ids: Sequence[NDArray[np.int64]], weights: Sequence[NDArray[np.float32]]) -> Self:
        """The sums that have these terms, one row each."""
        starts = np.concatenate([[0], np.cumsum([len(one) for one in ids], dtype=np.int64)])
        assert (np.diff(starts) > 0).all(), "a row is made of nothing"
        return cls(starts, np.concatenate(ids), np.concatenate(weights).astype(np.float32))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def moved(self, steps: NDArray[np.float32], direction: NDArray[np.float32]) -> Self:
        """The same rows, each moved by its step."""
        assert self.steps is None, "moved already"
        assert len(steps) == len(self)
        return replace(self, steps=steps.astype(np.float32), direction=direction.astype(np.float32))

    def stored(self, table: TensorInfo, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """The new rows of these numbers, [len(numbers), H], in the table's dtype; old rows are read as they are needed."""
        lengths = np.diff(self.starts)[numbers]
        ends = np.cumsum(lengths)
        terms = np.arange(lengths.sum()) + np.repeat(self.starts[numbers] - ends + lengths, lengths)
        wanted, places = np.unique(self.ids[terms], return_inverse=True)
        values = to_float32(gather_rows(table, wanted), table.dtype)[places]
        values *= self.weights[terms, None]
        rows: NDArray[np.float32] = np.add.reduceat(values, ends - lengths)
        if self.steps is not None and self.direction is not None:
            rows += self.steps[numbers, None] * self.direction
        return from_float32(rows, table.dtype)

    def values(self, table: TensorInfo, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """The same as float32."""
        return to_float32(self.stored(table, numbers), table.dtype)

    def sha256(self) -> str:
        """Of all that decides the rows, besides the table."""
        digest = hashlib.sha256()
        for array in (self.starts, self.ids, self.weights, self.steps, self.direction):
            digest.update(b"none" if array is None else array.tobytes())
        return digest.hexdigest()


def mean_rows(replaced: Sequence[Sequence[int]]) -> NewRows:
    """Each new row is the mean of the rows of the pieces that it replaces.

    >>> mean_rows([(5, 7), (5, 5, 6, 6)]).weights.tolist()
    [0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    """
    ids = [np.array(one, np.int64) for one in replaced]
    return NewRows.sums(ids, [np.full(len(one), 1 / len(one), np.float32) for one in ids])


def first_rows(replaced: Sequence[Sequence[int]], *, share: float = 1.0) -> NewRows:
    """Each new row is the row of the first piece that it replaces, for a head with rows of its own.

    What a head's row has to tell is whether the piece comes next, and the piece begins where its first part does.

    Source: Kim et al. 2024, arXiv 2402.14714 (EEVE), section 3: output rows by the first subword, input rows by the
    mean.  A `share` below 1, the rest being the mean, is ours.

    >>> first_rows([(5, 7)], share=0.5).weights.tolist()
    [0.75, 0.25]
    """
    ids = [np.array(one, np.int64) for one in replaced]
    weights = [np.full(len(one), (1 - share) / len(one), np.float32) for one in ids]
    for one in weights:
        one[0] += share
    return NewRows.sums(ids, weights)


def grown_table(
    table: TensorInfo, rows: NewRows, *, num_base_rows: int, num_rows: int, made: str, before: str = ""
) -> PlannedTensor:
    """A table of `num_rows` rows: the first `num_base_rows` as they are, then `rows`, then rows for padding.

    A padding row is the mean of the base's rows.  Memory is bounded by the pieces, whatever the table's size.

    Args:
        table: F32, F16 or BF16.
        rows: the new ones, made of the base's.
        num_base_rows: those of the table that stay; later ones are padding.
        num_rows: of the result.
        made: how the rows were made, for the table's origin.
        before: what is known of the origin of the table itself.
    """
    num_used = num_base_rows + len(rows)
    assert num_used <= num_rows

    def generate() -> Iterator[NDArray[Any]]:
        for _, stored in row_pieces(rows_of(table, 0, num_base_rows)):
            yield stored
        for numbers in row_ranges(len(rows), row_length(table)):
            yield rows.stored(table, numbers)
        if num_rows > num_used:
            padding = from_float32(mean_of_rows(rows_of(table, 0, num_base_rows)), table.dtype)
            for numbers in row_ranges(num_rows - num_used, row_length(table)):
                yield np.repeat(padding[None], len(numbers), axis=0)

    told = f"{len(rows)} rows of pieces by {made}, sha256 {rows.sha256()}"
    origin = f"rows 0 to {num_base_rows} of {f'({before})' if before else table.name}, {told}"
    return PlannedTensor(table.name, table.dtype, (num_rows, *table.shape[1:]), origin, generate, (table,))


def row_ranges(num_rows: int, length: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of rows that have `length` elements, as many at a time as `row_pieces` reads.

    >>> [numbers.tolist() for numbers in row_ranges(3, 1 << 18)]
    [[0, 1], [2]]
    """
    step = max(1, PIECE_ELEMENTS // length)
    for start in range(0, num_rows, step):
        yield np.arange(start, min(start + step, num_rows))


def mean_of_rows(table: TensorInfo) -> NDArray[np.float32]:
    """The mean of all rows, [H], summed in float64."""
    total = np.zeros(row_length(table))
    for _, stored in row_pieces(table):
        total += to_float32(stored, table.dtype).sum(0, dtype=np.float64)
    return (total / table.shape[0]).astype(np.float32)
