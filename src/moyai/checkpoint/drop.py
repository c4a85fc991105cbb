"""Drop-Upcycling: an expert's matrix whose channels are in part drawn anew.

Two variants are published, and both are here.

    independent   one permutation of the channels for each expert, which changes no function; then for each matrix a
                  subset of its own.  As in `conversions/drop_upcycling.py` of Taishi-N324/Drop-Upcycling.
    shared        no permutation; one subset for the three matrices of an expert, so that whole channels are new and
                  the others are untouched.  As in `checkpoint_init.py` of llm-jp/scripts, which made the llm-jp-3
                  mixtures (there it wrote into the source as well, so that all experts were one; here it does not).

In both the new values come from a normal distribution with the mean and the (unbiased) standard deviation of
exactly the values that they replace.  The references compute in bfloat16; here everything is float32 and is
rounded once.

Source: arXiv 2502.19261.  Letters: F intermediate channels, H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import STORAGE_DTYPES, from_float32, to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.random_stream import random_stream
from moyai.checkpoint.reader import PIECE_ELEMENTS, gather_rows, row_length, row_pieces

IndexSets = Literal["independent", "shared"]


def dropped(
    name: str,
    source: TensorInfo,
    *,
    expert: str,
    channel_axis: int,
    share: float,
    index_sets: IndexSets,
    factor: float = 1.0,
    seed: int,
) -> PlannedTensor:
    """An expert's matrix with int(`share` · F) of its F channels drawn anew.

    Args:
        name: of the new tensor.
        source: [F, H], or [H, F] where `channel_axis` is 1; F32, F16 or BF16.
        expert: name of the expert, the same for its three matrices.
        channel_axis: 0 where rows are channels, 1 where columns are.
        share: of the channels that are drawn anew, 0 to 1.
        index_sets: the variant.
        factor: what all values are multiplied with in the end.
        seed: with `name` and `expert` it decides what is drawn.
    """
    num_channels = source.shape[channel_axis]
    drawing = _Drawing(source, name, expert, int(num_channels * share), index_sets, factor, seed)
    generate = drawing.columns_redrawn if channel_axis else drawing.rows_redrawn
    origin = (
        f"drop of {source.name}, {index_sets} index sets: {drawing.num_redrawn} of {num_channels} channels drawn anew "
        f"from normal(mean, std) of what they held{f', times {factor:g}' if factor != 1.0 else ''}, seed {seed}"
    )
    return PlannedTensor(name, source.dtype, source.shape, origin, generate, (source,))


@dataclass(frozen=True)
class _Drawing:
    """How one matrix is made, in pieces."""

    source: TensorInfo
    name: str
    expert: str
    num_redrawn: int
    index_sets: IndexSets
    factor: float
    seed: int

    def rows_redrawn(self) -> Iterator[NDArray[Any]]:
        """[F, H]: channels are rows.  Yields [n, H]."""
        num_rows = self.source.shape[0]
        order, redrawn, stream = self._draw_channels(num_rows)
        step = max(1, PIECE_ELEMENTS // row_length(self.source))
        replaced = order[redrawn]
        mean, std = _mean_and_std(
            to_float32(gather_rows(self.source, replaced[start : start + step]), self.source.dtype)
            for start in range(0, len(replaced), step)
        )
        is_redrawn = np.zeros(num_rows, bool)
        is_redrawn[redrawn] = True
        for start in range(0, num_rows, step):
            drawn = is_redrawn[start : start + step]
            piece = np.empty((len(drawn), row_length(self.source)), STORAGE_DTYPES[self.source.dtype])
            piece[~drawn] = self._scaled(gather_rows(self.source, order[start : start + step][~drawn]))
            piece[drawn] = self._normal(stream, (int(drawn.sum()), piece.shape[1]), mean, std)
            yield piece

    def columns_redrawn(self) -> Iterator[NDArray[Any]]:
        """[H, F]: channels are columns.  Yields [n, F]."""
        order, redrawn, stream = self._draw_channels(self.source.shape[1])
        replaced = order[redrawn]
        mean, std = _mean_and_std(
            to_float32(np.take(rows, replaced, axis=1), self.source.dtype)
            for _, rows in row_pieces(self.source)
        )
        for _, rows in row_pieces(self.source):
            piece = self._scaled(np.take(rows, order, axis=1))
            piece[:, redrawn] = self._normal(stream, (len(rows), len(redrawn)), mean, std)
            yield piece

    def _draw_channels(
        self, num_channels: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], np.random.Generator]:
        """Source of each channel, the channels drawn anew, and the stream to draw their values from."""
        stream = random_stream(self.seed, self.name)
        of_expert = random_stream(self.seed, self.expert)
        if self.index_sets == "independent":
            order, chooser = of_expert.permutation(num_channels), stream
        else:
            order, chooser = np.arange(num_channels), of_expert
        return order, np.sort(chooser.choice(num_channels, self.num_redrawn, replace=False)), stream

    def _scaled(self, rows: NDArray[Any]) -> NDArray[Any]:
        if self.factor == 1.0:
            return rows
        return from_float32(to_float32(rows, self.source.dtype) * np.float32(self.factor), self.source.dtype)

    def _normal(
        self, stream: np.random.Generator, shape: tuple[int, int], mean: float, std: float
    ) -> NDArray[Any]:
        values = stream.standard_normal(shape, dtype=np.float32)
        values *= np.float32(std * self.factor)
        values += np.float32(mean * self.factor)
        return from_float32(values, self.source.dtype)


def _mean_and_std(pieces: Iterator[NDArray[np.float32]]) -> tuple[float, float]:
    """Mean and unbiased standard deviation over all pieces, merged as they come (Chan et al., 1979)."""
    count, mean, squares = 0, 0.0, 0.0
    for piece in pieces:
        if piece.size == 0:
            continue
        piece_mean = float(piece.mean(dtype=np.float64))
        piece_squares = float(piece.var(dtype=np.float64)) * piece.size
        both = count + piece.size
        squares += piece_squares + (piece_mean - mean) ** 2 * count * piece.size / both
        mean += (piece_mean - mean) * piece.size / both
        count = both
    return mean, math.sqrt(squares / (count - 1)) if count > 1 else 0.0
