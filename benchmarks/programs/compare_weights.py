"""Compare a mixture of moyai's with one that mergekit-moe made of the same config; prints JSON.

    python -m benchmarks.programs.compare_weights OURS THEIRS

Since transformers 5, mergekit stacks a layer's experts: `mlp.experts.gate_up_proj` [E, 2F, H] holds each expert's w1 above
its w3, `mlp.experts.down_proj` [E, H, F] the w2, and `mlp.gate` is the router.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import to_float32
from moyai.checkpoint.reader import CheckpointReader

_EXPERT = re.compile(r"(model\.layers\.\d+\.)block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight")
_ROUTER = re.compile(r"(model\.layers\.\d+\.)block_sparse_moe\.gate\.weight")


def compare(ours: CheckpointReader, theirs: CheckpointReader) -> dict[str, Any]:
    """How many tensors are equal to the byte, and how far the routers are apart."""
    left_over = set(theirs.tensors)
    different: list[str] = []
    routers: list[tuple[NDArray[Any], NDArray[Any]]] = []
    counts = {"experts": 0, "other": 0}
    for name in ours.tensors:
        mine, their_name, its = ours.raw(name), *_theirs(theirs, name)
        left_over.discard(their_name)
        if _ROUTER.fullmatch(name):
            routers.append((mine, its))
            continue
        counts["experts" if _EXPERT.fullmatch(name) else "other"] += 1
        if mine.dtype != its.dtype or mine.shape != its.shape or not np.array_equal(mine, its):
            different.append(name)
    return {"equal": counts, "different": different, "left_over": sorted(left_over), "routers": _distance(routers)}


def _theirs(theirs: CheckpointReader, name: str) -> tuple[str, NDArray[Any]]:
    if found := _EXPERT.fullmatch(name):
        layer, expert, matrix = found[1], int(found[2]), found[3]
        if matrix == "w2":
            return (their_name := f"{layer}mlp.experts.down_proj"), theirs.raw(their_name)[expert]
        both = theirs.raw(their_name := f"{layer}mlp.experts.gate_up_proj")[expert]
        half = len(both) // 2
        return their_name, both[:half] if matrix == "w1" else both[half:]
    if found := _ROUTER.fullmatch(name):
        return (their_name := f"{found[1]}mlp.gate.weight"), theirs.raw(their_name)
    return name, theirs.raw(name)


def _distance(routers: list[tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, float]:
    """Over all layers and experts; the rows are bfloat16."""
    mine = np.concatenate([to_float32(ours, "BF16") for ours, _ in routers]).astype(np.float64)
    its = np.concatenate([to_float32(theirs, "BF16") for _, theirs in routers]).astype(np.float64)
    cosines = (mine * its).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(its, axis=1)
    # of two bfloat16 numbers of one sign the bits, as integers, are as far apart as the numbers on the bfloat16 grid
    steps = np.concatenate([np.abs(_ordered(ours) - _ordered(theirs)) for ours, theirs in routers])
    large = np.abs(its) > 0.1 * np.abs(its).max(1, keepdims=True)
    return {
        "share_equal": float((steps == 0).mean()),
        "largest_difference": float(np.abs(mine - its).max()),
        "largest_value": float(np.abs(its).max()),
        "largest_steps_of_large_values": int(steps[large].max()),
        "smallest_cosine": float(cosines.min()),
    }


def _ordered(bits: NDArray[np.uint16]) -> NDArray[np.int64]:
    wide = bits.astype(np.int64)
    return np.where(wide & 0x8000, -(wide & 0x7FFF), wide)


if __name__ == "__main__":
    print(json.dumps(compare(CheckpointReader(Path(sys.argv[1])), CheckpointReader(Path(sys.argv[2])))))
