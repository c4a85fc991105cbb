"""Noise on top of a weight matrix, to make equal experts differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import from_float32, to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.random_stream import random_stream
from moyai.checkpoint.reader import row_pieces


def noised(
    name: str,
    source: TensorInfo,
    *,
    scale: float,
    share: float = 1.0,
    channel_axis: int = 0,
    factor: float = 1.0,
    dtype: str = "",
    seed: int,
    origin: str = "",
) -> PlannedTensor:
    """`source`, a matrix, times `factor`, with Normal(0, `scale`) added to a share of its channels.

    Computed in float32 and rounded once.

    Args:
        name: of the new tensor; with `seed` it decides the noise.
        source: [rows, columns] in F32, F16 or BF16.
        scale: standard deviation of what is added.
        share: int(share · channels) channels, chosen at random, get noise.
        channel_axis: 0 where rows are channels, 1 where columns are.
        factor: what the values are multiplied with before.
        dtype: F32, F16 or BF16; default: the source's.
        seed: of the stream.
        origin: what the source is, for the provenance.

    Source: mergekit-moe's `noise_scale` (all channels); the noise baseline of Taishi-N324/Drop-Upcycling (half of
    them, 0.02).  The latter permutes channels before, which changes no function and is left out.
    """
    stored = dtype or source.dtype
    num_channels = source.shape[channel_axis]
    num_noised = int(share * num_channels)

    def generate() -> Iterator[NDArray[Any]]:
        stream = random_stream(seed, name)
        touched = np.zeros(num_channels, bool)
        touched[stream.choice(num_channels, num_noised, replace=False)] = True
        for start, rows in row_pieces(source):
            values = to_float32(rows, source.dtype) * np.float32(factor)
            noise = stream.standard_normal(values.shape, dtype=np.float32) * np.float32(scale)
            if channel_axis == 0:
                noise[~touched[start : start + len(rows)]] = 0
            else:
                noise[:, ~touched] = 0
            values += noise
            yield from_float32(values, stored)

    told = (
        f"{origin or f'copy of {source.name}'}{f', times {factor:g}' if factor != 1.0 else ''}, "
        f"normal(0, {scale:g}) added to {num_noised} of {num_channels} channels, seed {seed}"
        f"{f', as {stored}' if stored != source.dtype else ''}"
    )
    return PlannedTensor(name, stored, source.shape, told, generate, (source,))
