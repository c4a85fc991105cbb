"""Writing a trained model back as a checkpoint that every reader knows, straight from memory."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from moyai.checkpoint.layout import Matrix, expert_name, router_name
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.writer import write_checkpoint
from moyai.forest.model import ForestModel
from moyai.progress import Progress
from moyai.recipe.architecture import Family

_SHARD_BYTES = 5_000_000_000
_STACKED = re.compile(r"layers\.(?P<layer>\d+)\.mlp\.experts\.(?P<part>gate_up_proj|down_proj)")
# transformers keeps all experts in one tensor, gate above up
_PARTS: dict[str, tuple[Matrix, ...]] = {"gate_up_proj": ("gate", "up"), "down_proj": ("down",)}
_ROUTER = re.compile(r"model\.layers\.(?P<layer>\d+)\.mlp\.gate\.weight")


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
    family: Family = model.backbone.config.model_type
    for name, parameter in model.backbone.named_parameters():
        if name.startswith("embed_tokens."):
            continue
        stacked = _STACKED.fullmatch(name)
        if stacked is None:
            yield _original_name(family, f"model.{name}"), [parameter.detach()]
            continue
        layer = int(stacked["layer"])
        for expert, weight in enumerate(parameter.detach()):
            matrices = _PARTS[stacked["part"]]
            for matrix, part in zip(matrices, weight.chunk(len(matrices)), strict=True):
                yield expert_name(family, layer, expert, matrix), [part]
    yield "model.embed_tokens.weight", [block.detach() for block in model.embedding.blocks]
    if not model.tied:
        yield "lm_head.weight", [block.detach() for block in model.head.blocks]


def _original_name(family: Family, name: str) -> str:
    router = _ROUTER.fullmatch(name)
    return router_name(family, int(router["layer"])) if router else name


def _stacked_shape(pieces: list[torch.Tensor]) -> tuple[int, ...]:
    return (sum(len(piece) for piece in pieces), *pieces[0].shape[1:])


def _generator(pieces: list[torch.Tensor]) -> Callable[[], Iterator[NDArray[Any]]]:
    def make() -> Iterator[NDArray[Any]]:
        for piece in pieces:
            yield piece.to(device="cpu", dtype=torch.float32).contiguous().numpy()

    return make
