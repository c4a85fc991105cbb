"""The first weights of a router: drawn from a distribution of a stated spread, or computed from prompts.

The spread matters.  A router multiplies a normalised vector, so with independent weights of standard deviation std its
logits have the standard deviation std · ‖x‖, and ‖x‖ is up to √H.  With std 1 most tokens give nearly all weight to
one expert, and which one is an accident.  With 0.02 the experts share the weight, and each is trained from the
start.  docs/concepts.md has figures measured on a real model.

Letters: E experts, H hidden size.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import from_float32
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.random_stream import random_stream

DEFAULT_ROUTER_STD = 0.02


@dataclass(frozen=True)
class RouterDraw:
    """Independent draws around zero with standard deviation `std`."""

    distribution: Literal["normal", "uniform"] = "normal"
    std: float = DEFAULT_ROUTER_STD
    seed: int = 0

    def values(self, name: str, num_experts: int, hidden_size: int) -> NDArray[np.float32]:
        """float32 [E, H] for the router called `name`."""
        stream, shape = random_stream(self.seed, name), (num_experts, hidden_size)
        if self.distribution == "normal":
            return stream.standard_normal(shape, dtype=np.float32) * np.float32(self.std)
        bound = np.float32(self.std * math.sqrt(3))  # a uniform distribution on ±b has the standard deviation b/√3
        return (stream.random(shape, dtype=np.float32) * 2 - 1) * bound


def drawn_router(name: str, dtype: str, num_experts: int, hidden_size: int, draw: RouterDraw) -> PlannedTensor:
    """A router [E, H] drawn at random."""

    def generate() -> Iterator[NDArray[Any]]:
        yield from_float32(draw.values(name, num_experts, hidden_size), dtype)

    origin = f"{draw.distribution}, mean 0, standard deviation {draw.std:g}, seed {draw.seed}"
    return PlannedTensor(name, dtype, (num_experts, hidden_size), origin, generate)


def given_router(name: str, dtype: str, values: NDArray[np.float32], origin: str) -> PlannedTensor:
    """A router whose weights, float32 [E, H], were computed; `origin` says from what."""
    # an interrupted write of other values must not be taken over
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]

    def generate() -> Iterator[NDArray[Any]]:
        yield from_float32(values, dtype)

    return PlannedTensor(name, dtype, values.shape, f"{origin}, sha256 {digest}", generate)


def zero_gate(name: str, dtype: str, hidden_size: int) -> PlannedTensor:
    """The row [1, H] that weighs a shared expert, at zero: its sigmoid is 1/2 for every token."""

    def generate() -> Iterator[NDArray[Any]]:
        yield from_float32(np.zeros((1, hidden_size), np.float32), dtype)

    return PlannedTensor(name, dtype, (1, hidden_size), "zeros", generate)
