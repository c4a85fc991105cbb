"""Fine-grained experts: each holds one G-th of a feed-forward layer, and G of them together are the layer.

The F channels are cut into G shards; expert i holds shard i mod G.  Experts jG to jG + G - 1 are a virtual group: they
hold all shards and start with equal router rows, so they are chosen together.  With the chosen experts' weights
adding up to 1, the mixture gives 1/G of the layer, and its weights are scaled to make up for that.

    down        the down projection is multiplied by G: exactly the parent's function where G is a power of two
    published   gate, up and down are each multiplied by the cube root of G.  The gate passes through SiLU, which
                is not homogeneous, so this is the parent's function only roughly

Source: arXiv 2410.07524; `megatron/core/transformer/moe/upcycling_utils.py` of NVIDIA/Megatron-LM for `published`.
Letters: E experts, F intermediate channels, G granularity, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.copying import converted, rows_of
from moyai.checkpoint.dtypes import from_float32, to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import Matrix
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import row_pieces
from moyai.checkpoint.router import RouterDraw

Scaling = Literal["down", "published"]


def expert_shard(
    name: str, source: TensorInfo, *, matrix: Matrix, shard: int, granularity: int, scaling: Scaling, factor: float = 1.0
) -> PlannedTensor:
    """An expert's matrix: shard number `shard` of `source`'s channels, scaled.

    Args:
        name: of the new tensor.
        source: [F, H]; for `down` [H, F].
        matrix: which of the three it is.
        shard: 0 to G - 1.
        granularity: G, a divisor of F.
        scaling: the variant.
        factor: what the down projection is multiplied with besides.
    """
    if scaling == "published":
        factor *= granularity ** (1 / 3)
    elif matrix == "down":
        factor *= granularity
    if matrix != "down":
        width = source.shape[0] // granularity
        return converted(name, rows_of(source, shard * width, (shard + 1) * width), factor=factor)
    width = source.shape[1] // granularity
    columns = slice(shard * width, (shard + 1) * width)

    def generate() -> Iterator[NDArray[Any]]:
        for _, rows in row_pieces(source):
            yield from_float32(to_float32(rows[:, columns], source.dtype) * np.float32(factor), source.dtype)

    origin = f"copy of {source.name}[:, {columns.start}:{columns.stop}], times {factor:g}"
    return PlannedTensor(name, source.dtype, (source.shape[0], width), origin, generate, (source,))


def group_router(
    name: str, dtype: str, num_experts: int, hidden_size: int, draw: RouterDraw, granularity: int
) -> PlannedTensor:
    """A router [E, H] with one row drawn for each virtual group and repeated for its G experts."""

    def generate() -> Iterator[NDArray[Any]]:
        rows = draw.values(name, num_experts // granularity, hidden_size)
        yield from_float32(np.repeat(rows, granularity, axis=0), dtype)

    origin = f"{draw.distribution}, standard deviation {draw.std:g}, one row for {granularity} experts, seed {draw.seed}"
    return PlannedTensor(name, dtype, (num_experts, hidden_size), origin, generate)
