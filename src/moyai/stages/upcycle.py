"""upcycle: make experts of the dense feed-forward layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.upcycle import plan_upcycle
from moyai.progress import Progress
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import UpcycleSettings
from moyai.stages.contract import StageContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REVISION = 2


def run(settings: UpcycleSettings, context: StageContext) -> dict[str, Any]:
    """Write the mixture, tensor by tensor."""
    (parent_dir,) = context.inputs.values()
    mixture, planned = plan_upcycle(
        CheckpointReader(parent_dir),
        read_architecture(parent_dir),
        settings,
        _routers(parent_dir, settings, context.progress) if settings.router == "prompts" else None,
    )
    counts = write_model(
        context.out_dir,
        mixture,
        planned,
        like=read_config(parent_dir),
        tokenizer_dir=parent_dir,
        shard_bytes=settings.shard_bytes,
        progress=context.progress,
    )
    return {
        "method": settings.method,
        "family": mixture.family,
        "experts": settings.experts,
        "active": settings.active,
        "router": settings.router,
        "num_active_parameters": counts["num_parameters"] - mixture.num_idle_parameters,
        **counts,
    }


def _routers(parent_dir: Path, settings: UpcycleSettings, progress: Progress) -> NDArray[np.float32]:
    # torch is needed for this alone
    from moyai.layerwise.gates import prompt_gates

    return prompt_gates(parent_dir, settings.prompts, mode=settings.gate_mode, behaviour="exact", progress=progress)
