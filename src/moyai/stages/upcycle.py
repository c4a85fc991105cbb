"""upcycle: make experts of the dense feed-forward layers."""

from __future__ import annotations

from math import prod
from typing import Any

from moyai.checkpoint.config import copy_tokenizer_files, write_config
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.upcycle import plan_upcycle
from moyai.checkpoint.writer import write_checkpoint
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import UpcycleSettings
from moyai.stages.contract import StageContext

REVISION = 1


def run(settings: UpcycleSettings, context: StageContext) -> dict[str, Any]:
    """Write the mixture, tensor by tensor."""
    (parent_dir,) = context.inputs.values()
    dense = read_architecture(parent_dir)
    reader = CheckpointReader(parent_dir)
    mixture, planned = plan_upcycle(reader, dense, settings)
    write_checkpoint(context.out_dir, planned, shard_bytes=settings.shard_bytes, progress=context.progress)
    dtype = reader.tensors["model.embed_tokens.weight"].dtype
    write_config(context.out_dir, mixture, dtype=dtype, like=read_config(parent_dir))
    copy_tokenizer_files(parent_dir, context.out_dir)
    num_parameters = sum(prod(tensor.shape) for tensor in planned)
    per_expert = 3 * mixture.hidden_size * mixture.intermediate_size * mixture.num_hidden_layers
    return {
        "method": settings.method,
        "experts": settings.experts,
        "active": settings.active,
        "num_parameters": num_parameters,
        "num_active_parameters": num_parameters - per_expert * (settings.experts - settings.active),
        "num_tensors": len(planned),
        "num_bytes": sum(path.stat().st_size for path in context.out_dir.glob("*.safetensors")),
    }
