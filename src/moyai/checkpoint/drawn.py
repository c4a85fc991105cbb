"""The first weights of a model that starts from nothing, drawn from a normal distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import from_float32
from moyai.checkpoint.layout import expected_tensors
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.random_stream import random_stream
from moyai.recipe.architecture import Architecture

INITIAL_STD = 0.02
"""As in llm-jp-3's and most other pre-trainings; transformers calls it `initializer_range`."""

_PIECE_ELEMENTS = 1 << 20


def drawn_model(architecture: Architecture, *, dtype: str, seed: int) -> list[PlannedTensor]:
    """All tensors of a model: matrices and embeddings from Normal(0, 0.02), norms ones, biases zeros.

    Every tensor has a stream of its own, by its name; the bytes depend on nothing else.

    Args:
        architecture: what is drawn.
        dtype: F32, F16 or BF16.
        seed: of the streams.

    Source: `_init_weights` of transformers' Llama and Mixtral.
    """
    return [_drawn(name, shape, dtype, seed) for name, shape in expected_tensors(architecture).items()]


def _drawn(name: str, shape: tuple[int, ...], dtype: str, seed: int) -> PlannedTensor:
    if len(shape) == 1:
        value = 0.0 if name.endswith(".bias") else 1.0

        def constant() -> Iterator[NDArray[Any]]:
            yield from_float32(np.full(shape, value, np.float32), dtype)

        return PlannedTensor(name, dtype, shape, "zeros" if value == 0 else "ones", constant)

    def normal() -> Iterator[NDArray[Any]]:
        stream, row_elements = random_stream(seed, name), math.prod(shape[1:])
        step = max(1, _PIECE_ELEMENTS // row_elements)
        for start in range(0, shape[0], step):
            rows = min(step, shape[0] - start)
            values = stream.standard_normal((rows, row_elements), dtype=np.float32) * np.float32(INITIAL_STD)
            yield from_float32(values, dtype)

    return PlannedTensor(name, dtype, shape, f"normal(0, {INITIAL_STD:g}), seed {seed}", normal)
