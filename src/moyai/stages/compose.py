"""compose: one mixture of the feed-forward layers of several models."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from moyai.checkpoint.compatibility import require_compatible
from moyai.checkpoint.compose import ExpertModel, Gates, composed_architecture, plan_compose
from moyai.checkpoint.dtypes import TORCH_NAMES
from moyai.checkpoint.layout import EMBEDDING_NAME
from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.router import RouterDraw
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, read_architecture, read_config
from moyai.recipe.composition import DRAWN_MODES, ExpertSource
from moyai.recipe.expert_prompts import ExpertPrompts, GateMode
from moyai.recipe.settings import ComposeSettings
from moyai.stages.contract import StageContext
from moyai.stages.outside_models import model_directories, model_hashes, model_label

REVISION = 1

# What `architecture` may begin with, by the family that the base becomes; mergekit's names.
_NAMES = {"mixtral": "mixtral", "qwen2_moe": "qwen moe", "qwen3_moe": "qwen3 moe"}
_TRAP = (
    "gate_mode random draws the routers from a normal distribution of standard deviation 1: on vectors of length √hidden"
    " their logits have one of {:.0f}, and one of the chosen experts takes most of the weight by accident;"
    " uniform_random, prompts or training make better ones"
)
_ONE_MODEL = "all experts are of one model, so they are equal: this is upcycling and needs training to be of use"


def outside(settings: ComposeSettings, cache_dir: Path) -> dict[str, str]:
    """Content hashes of the models that do not come from the run."""
    return model_hashes(settings.named_models(), cache_dir)


def run(settings: ComposeSettings, context: StageContext) -> dict[str, Any]:
    """Find all differences first, then make the routers, then write."""
    base_dir = next(iter(context.inputs.values()))
    base, architecture = CheckpointReader(base_dir), read_architecture(base_dir)
    mixture = composed_architecture(
        base,
        architecture,
        num_experts=len(settings.experts),
        active=settings.experts_per_token,
        num_shared=len(settings.shared_experts),
    )
    _check_name(settings, mixture)
    directories = model_directories(settings.named_models(), context)
    notes = require_compatible(base_dir, {name: path for name, path in directories.items() if path != base_dir})
    notes += _notes(settings, architecture, read_config(base_dir))
    for note in notes:
        context.progress.note(note)
    readers = {name: CheckpointReader(path) for name, path in directories.items()}
    base_dtype = base.tensors[EMBEDDING_NAME].dtype
    dtypes = {name: storage for storage, name in TORCH_NAMES.items()}
    _, planned = plan_compose(
        base,
        architecture,
        [_expert(source, readers) for source in settings.experts],
        base_label="the base",
        shared=_expert(settings.shared_experts[0], readers) if settings.shared_experts else None,
        active=settings.experts_per_token,
        gates=_gates(settings, architecture, base_dir, context),
        dtype=dtypes[settings.dtype] if settings.dtype else base_dtype,
        seed=settings.seed,
    )
    counts = write_model(
        context.out_dir,
        mixture,
        planned,
        like=read_config(base_dir),
        tokenizer_dir=directories.get(settings.tokenizer_source.removeprefix("model:"), base_dir),
        shard_bytes=settings.shard_bytes,
        progress=context.progress,
    )
    return {
        "family": mixture.family,
        "experts": mixture.num_experts,
        "active": mixture.num_active_experts,
        "gate_mode": settings.gate_mode,
        "gates": settings.gates,
        "expert_models": [model_label(source.source_model) for source in settings.experts],
        "notes": notes,
        "num_active_parameters": counts["num_parameters"] - mixture.num_idle_parameters,
        **counts,
    }


def _notes(settings: ComposeSettings, architecture: Architecture, config: Mapping[str, Any]) -> list[str]:
    notes = [_TRAP.format(sqrt(architecture.hidden_size))] if settings.gate_mode == "random" else []
    if settings.gate_mode in DRAWN_MODES and any(source.positive_prompts for source in settings.experts):
        notes.append(f"gate_mode {settings.gate_mode} makes no use of the prompts")
    if architecture.family == "mistral" and config.get("sliding_window"):
        notes.append(f"the base's sliding window of {config['sliding_window']} is not kept: Mixtral attends to everything")
    noise = any(source.noise_scale for source in settings.experts)
    if len({source.source_model for source in settings.experts}) == 1 and not noise:
        notes.append(_ONE_MODEL)
    return notes


def _check_name(settings: ComposeSettings, mixture: Architecture) -> None:
    name = _NAMES[mixture.family]
    if settings.architecture and not name.startswith(settings.architecture.lower()):
        raise InputFileError(
            f"architecture is {settings.architecture!r}, but these models become {name}",
            hint="leave it out; the family of the models decides",
        )


def _expert(source: ExpertSource, readers: Mapping[str, CheckpointReader]) -> ExpertModel:
    return ExpertModel(
        reader=readers[source.source_model],
        label=model_label(source.source_model),
        noise_scale=source.noise_scale or 0.0,
        residual_scale=1.0 if source.residual_scale is None else source.residual_scale,
    )


def _gates(settings: ComposeSettings, architecture: Architecture, base_dir: Path, context: StageContext) -> Gates:
    if settings.gate_mode == "random":
        return Gates("drawn", draw=RouterDraw("normal", 1.0, settings.seed))
    if settings.gate_mode == "uniform_random":
        # uniform in ±1/√H, as torch begins a linear layer
        return Gates("drawn", draw=RouterDraw("uniform", 1 / sqrt(3 * architecture.hidden_size), settings.seed))
    assert settings.gate_mode not in DRAWN_MODES

    # torch is needed for this alone
    from moyai.layerwise.gates import prompt_gates

    mode: GateMode = "hidden" if settings.gate_mode == "hidden_last" else settings.gate_mode
    everyone = (*settings.experts, *settings.shared_experts)
    prompts = [ExpertPrompts(positive=s.positive_prompts, negative=s.negative_prompts) for s in everyone]
    gates_LEH = prompt_gates(base_dir, prompts, mode=mode, behaviour=settings.gates, progress=context.progress)
    num_experts = len(settings.experts)
    return Gates(
        origin=f"from prompts, {mode}, {settings.gates}",
        routers_LEH=gates_LEH[:, :num_experts],
        shared_LH=gates_LEH[:, num_experts] if settings.shared_experts else None,
    )
