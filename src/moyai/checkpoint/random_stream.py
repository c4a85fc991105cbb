"""Random numbers that depend on a seed and a name alone, not on the order of the work or the number of threads."""

from __future__ import annotations

import hashlib

import numpy as np


def random_stream(seed: int, name: str) -> np.random.Generator:
    """The stream of `name`: independent of all others and of how far they have been read."""
    key = hashlib.sha256(f"{seed} {name}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
