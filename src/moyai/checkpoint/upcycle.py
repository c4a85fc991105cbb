"""From a dense Llama or Mistral to a Mixtral whose experts start from its feed-forward layers.

    copy    every expert is the parent's feed-forward layer, byte by byte: the same function as the parent
    drop    Drop-Upcycling: each expert has its channels permuted and a share of each matrix drawn anew

Letters: F intermediate channels, H hidden size, E experts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import STORAGE_DTYPES, TORCH_NAMES, from_float32, to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import (
    EXPERT_MATRICES,
    ExpertMatrix,
    check_complete,
    dense_name,
    expected_tensors,
    expert_name,
    router_name,
)
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import PIECE_ELEMENTS, CheckpointReader, gather_rows, row_length, row_pieces
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture
from moyai.recipe.settings import UpcycleSettings


def plan_upcycle(
    reader: CheckpointReader, architecture: Architecture, settings: UpcycleSettings
) -> tuple[Architecture, list[PlannedTensor]]:
    """The mixture's architecture and its tensors, each stored in its parent's dtype.

    A router is drawn from Normal(0, `router_std`).  Every random stream is keyed by the seed and a tensor's
    name, so the bytes depend neither on the order of the work nor on the number of threads.

    A sliding window of the parent is not carried over: Mixtral attends to everything.

    Raises:
        InputFileError: the parent is a mixture already, is not whole, or its weights are not F32, F16 or
            BF16.

    Source: Drop-Upcycling (arXiv 2502.19261), `conversions/drop_upcycling.py` of Taishi-N324/Drop-Upcycling,
    see `_DroppedMatrix`.  There the router is uniform with standard deviation 0.02; ours is normal, as in the
    branch that made llm-jp's mixtures.
    """
    if architecture.is_moe:
        raise InputFileError(f"{reader.directory} is a mixture already", hint="upcycle a dense model")
    check_complete(reader.shapes, architecture, str(reader.directory))
    mixture = Architecture.model_validate(
        architecture.model_dump()
        | {"family": "mixtral", "num_experts": settings.experts, "num_active_experts": settings.active}
    )
    made: dict[str, PlannedTensor] = {}
    for layer in range(mixture.num_hidden_layers):
        parent = reader.tensors[dense_name(layer, "w1")]
        router = _router(router_name(layer), parent.dtype, mixture, settings)
        made[router.name] = router
        for expert in range(mixture.num_experts):
            for matrix in EXPERT_MATRICES:
                tensor = _expert(reader.tensors[dense_name(layer, matrix)], layer, expert, matrix, settings)
                made[tensor.name] = tensor
    names = expected_tensors(mixture)
    return mixture, [made.get(name) or copied(name, reader.tensors[name]) for name in names]


def copied(name: str, source: TensorInfo) -> PlannedTensor:
    """A tensor called `name` with the bytes of `source`."""
    return PlannedTensor(name, source.dtype, source.shape, f"copy of {source.name}", source)


def _router(name: str, dtype: str, mixture: Architecture, settings: UpcycleSettings) -> PlannedTensor:
    if dtype not in TORCH_NAMES:
        raise InputFileError(
            f"the feed-forward weights are stored as {dtype}; upcycling wants {', '.join(TORCH_NAMES)}",
            hint="convert the checkpoint to bfloat16 first",
        )
    shape = (mixture.num_experts, mixture.hidden_size)
    origin = f"normal(0, {settings.router_std}), seed {settings.seed}"

    def draw() -> Iterator[NDArray[Any]]:
        values = _stream(settings.seed, name).standard_normal(shape, dtype=np.float32)
        yield from_float32(values * np.float32(settings.router_std), dtype)

    return PlannedTensor(name, dtype, shape, origin, draw)


def _expert(
    source: TensorInfo, layer: int, expert: int, matrix: ExpertMatrix, settings: UpcycleSettings
) -> PlannedTensor:
    name = expert_name(layer, expert, matrix)
    if settings.method == "copy":
        return copied(name, source)
    num_channels = source.shape[1 if matrix == "w2" else 0]
    channels = f"model.layers.{layer}.block_sparse_moe.experts.{expert}"
    dropped = _DroppedMatrix(source, name, channels, int(num_channels * settings.reinit), settings.seed)
    generate = dropped.columns_redrawn if matrix == "w2" else dropped.rows_redrawn
    origin = (
        f"drop of {source.name}: permuted, {dropped.num_redrawn} of {num_channels} channels drawn anew "
        f"from normal(mean, std) of what they held, seed {settings.seed}"
    )
    return PlannedTensor(name, source.dtype, source.shape, origin, generate, (source,))


@dataclass(frozen=True)
class _DroppedMatrix:
    """One expert's matrix by Drop-Upcycling, made in pieces.

    1. One permutation of the F channels per expert, the same for w1, w2 and w3: it changes no function.
    2. A fresh subset of int(F * reinit) channels per matrix, overwritten by Normal(mean, std) of exactly the
       values that are replaced, one mean and one (unbiased) std for all of them.

    The reference computes in bfloat16; we draw and scale in float32 and round once.
    """

    source: TensorInfo
    name: str
    channels: str
    num_redrawn: int
    seed: int

    def rows_redrawn(self) -> Iterator[NDArray[Any]]:
        """w1 or w3, [F, H]: channels are rows.  Yields [n, H]."""
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
            piece[~drawn] = gather_rows(self.source, order[start : start + step][~drawn])
            piece[drawn] = self._normal(stream, (int(drawn.sum()), piece.shape[1]), mean, std)
            yield piece

    def columns_redrawn(self) -> Iterator[NDArray[Any]]:
        """w2, [H, F]: channels are columns.  Yields [n, F]."""
        order, redrawn, stream = self._draw_channels(self.source.shape[1])
        replaced = order[redrawn]
        mean, std = _mean_and_std(
            to_float32(np.take(rows, replaced, axis=1), self.source.dtype)
            for _, rows in row_pieces(self.source)
        )
        for _, rows in row_pieces(self.source):
            piece = np.take(rows, order, axis=1)
            piece[:, redrawn] = self._normal(stream, (len(rows), len(redrawn)), mean, std)
            yield piece

    def _draw_channels(
        self, num_channels: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], np.random.Generator]:
        """Source of each channel, the channels drawn anew, and the stream to draw their values from."""
        order = _stream(self.seed, self.channels).permutation(num_channels)
        stream = _stream(self.seed, self.name)
        redrawn = np.sort(stream.choice(num_channels, self.num_redrawn, replace=False))
        return order, redrawn, stream

    def _normal(
        self, stream: np.random.Generator, shape: tuple[int, int], mean: float, std: float
    ) -> NDArray[Any]:
        values = stream.standard_normal(shape, dtype=np.float32)
        values *= np.float32(std)
        values += np.float32(mean)
        return from_float32(values, self.source.dtype)


def _stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of `name`: independent of all others and of how far they have been read."""
    key = hashlib.sha256(f"{seed} {name}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


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
