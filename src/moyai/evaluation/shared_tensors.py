"""Which stored tensors two checkpoints have in common, number for number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import EMBEDDING_NAME, HEAD_NAME, MATRICES, dense_name, expected_tensors, expert_name
from moyai.checkpoint.reader import CheckpointReader, row_pieces
from moyai.recipe.architecture import Architecture

_FEED_FORWARD = (".mlp.", ".block_sparse_moe.")


@dataclass(frozen=True)
class SharedTensors:
    """Names of the tensors that both models should have: all but feed-forward parts of another form."""

    identical: tuple[str, ...]
    different: tuple[str, ...]
    """With other numbers, of another shape, or on one side only."""


@dataclass(frozen=True)
class Stored:
    """A checkpoint on disk."""

    architecture: Architecture
    reader: CheckpointReader


def compare_shared(first: Stored, second: Stored) -> SharedTensors:
    """Compare embedding, norms, attention and head, and feed-forward tensors that have the same name in both.

    The tensors are read in pieces of a few megabytes.
    """
    ours, theirs = _by_name(first), _by_name(second)
    identical: list[str] = []
    different: list[str] = []
    for name in {**ours, **theirs}:
        if name in ours and name in theirs:
            (identical if same_values(ours[name], theirs[name]) else different).append(name)
        elif not any(part in name for part in _FEED_FORWARD):
            different.append(name)
    return SharedTensors(tuple(identical), tuple(different))


def same_expert(model: Stored, expert: int, other: Stored, layer: int) -> bool:
    """Whether an expert of `model` holds the numbers that `other` has in its place.

    That is the dense layer, whose down projection an expert beside a shared one has halved, or the expert of the same
    number.
    """
    mine, its = model.architecture, other.architecture
    if its.is_moe and (its.family, its.num_experts) != (mine.family, mine.num_experts):
        return False
    for matrix in MATRICES:
        half = mine.shared_expert_size > 0 and not its.is_moe and matrix == "down"
        name = expert_name(mine.family, layer, expert, matrix)
        counterpart = name if its.is_moe else dense_name(layer, matrix)
        if not same_values(other.reader.tensors[counterpart], model.reader.tensors[name], factor=0.5 if half else 1.0):
            return False
    return True


def same_values(first: TensorInfo, second: TensorInfo, *, factor: float = 1.0) -> bool:
    """Whether `second` is `first` times `factor`: in one dtype byte for byte, otherwise number for number."""
    if first.shape != second.shape:
        return False
    pieces = zip(row_pieces(first), row_pieces(second), strict=True)
    if first.dtype == second.dtype and factor == 1.0:
        return all(ours.tobytes() == theirs.tobytes() for (_, ours), (_, theirs) in pieces)
    return all(
        np.array_equal(_values(ours, first) * np.float32(factor), _values(theirs, second))
        for (_, ours), (_, theirs) in pieces
    )


def _values(piece: NDArray[np.generic], info: TensorInfo) -> NDArray[np.float32]:
    return to_float32(piece, info.dtype)


def _by_name(stored: Stored) -> dict[str, TensorInfo]:
    tensors = {name: stored.reader.tensors[name] for name in expected_tensors(stored.architecture)}
    # where only one of two heads is tied to its embedding, the two are still one thing
    tensors.setdefault(HEAD_NAME, tensors[EMBEDDING_NAME])
    return tensors
