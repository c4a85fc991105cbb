"""Writing a trained model back as a checkpoint that every reader knows, straight from memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.writer import write_checkpoint
from moyai.forest.model import ForestModel
from moyai.progress import Progress

_SHARD_BYTES = 5_000_000_000


def write_trained(model: ForestModel, out_dir: Path, progress: Progress) -> None:
    """Write the weights in float32 under their original, per-expert names."""
    # Weights in memory have no name that another process could know them by: never take over a shard of a write cut short.
    origin = f"trained weights, write {uuid.uuid4().hex}"
    planned = [
        PlannedTensor(name, "F32", _stacked_shape(pieces), origin, _generator(pieces))
        for name, pieces in named_tensors(model)
    ]
    write_checkpoint(out_dir, planned, shard_bytes=_SHARD_BYTES, progress=progress)


def named_tensors(model: ForestModel) -> Iterator[tuple[str, list[torch.Tensor]]]:
    """Each tensor of the checkpoint layout, as the blocks of rows it is made of."""
    for name, parameter in model.backbone.named_parameters():
        if name.startswith("embed_tokens."):
            continue
        full = f"model.{name}"
        layer = full.removesuffix(".gate_up_proj").removesuffix(".down_proj").removesuffix(".mlp.experts")
        if full.endswith(".mlp.experts.gate_up_proj"):
            for expert, gate_up_FD in enumerate(parameter.detach()):
                gate_FD, up_FD = gate_up_FD.chunk(2)
                yield f"{layer}.block_sparse_moe.experts.{expert}.w1.weight", [gate_FD]
                yield f"{layer}.block_sparse_moe.experts.{expert}.w3.weight", [up_FD]
        elif full.endswith(".mlp.experts.down_proj"):
            for expert, down_DF in enumerate(parameter.detach()):
                yield f"{layer}.block_sparse_moe.experts.{expert}.w2.weight", [down_DF]
        elif full.endswith(".mlp.gate.weight"):
            yield full.replace(".mlp.gate.", ".block_sparse_moe.gate."), [parameter.detach()]
        else:
            yield full, [parameter.detach()]
    yield "model.embed_tokens.weight", [block.detach() for block in model.embedding.blocks]
    if not model.tied:
        yield "lm_head.weight", [block.detach() for block in model.head.blocks]


def _stacked_shape(pieces: list[torch.Tensor]) -> tuple[int, ...]:
    return (sum(len(piece) for piece in pieces), *pieces[0].shape[1:])


def _generator(pieces: list[torch.Tensor]) -> Callable[[], Iterator[NDArray[Any]]]:
    def make() -> Iterator[NDArray[Any]]:
        for piece in pieces:
            yield piece.to(device="cpu", dtype=torch.float32).contiguous().numpy()

    return make
