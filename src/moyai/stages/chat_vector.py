"""chat_vector: add what tuning has changed in other models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moyai.checkpoint.chat_vector import plan_chat_vector
from moyai.checkpoint.chat_vector_models import Vector, VectorModel
from moyai.checkpoint.config import copy_tokenizer_files
from moyai.checkpoint.dtypes import TORCH_NAMES
from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.recipe.architecture import read_config
from moyai.recipe.settings import ChatVectorSettings
from moyai.stages.contract import StageContext
from moyai.stages.outside_models import model_directories, model_hashes, model_label
from moyai.tokenizer.chat.format import ChatFormat, chat_format, token_ids

REVISION = 1


def outside(settings: ChatVectorSettings, cache_dir: Path) -> dict[str, str]:
    """Content hashes of the models that do not come from the run."""
    return model_hashes(settings.named_models(), cache_dir)


def run(settings: ChatVectorSettings, context: StageContext) -> dict[str, Any]:
    """Find all differences first, then write."""
    base_dir = next(iter(context.inputs.values()))
    directories = model_directories(settings.named_models(), context)
    models = {name: VectorModel.read(model_label(name), CheckpointReader(path)) for name, path in directories.items()}
    chat_dir = directories[settings.chat_vectors[-1].chat]
    base = VectorModel.read(str(base_dir), CheckpointReader(base_dir))
    plan = plan_chat_vector(
        base,
        [Vector(models[vector.chat], models[vector.base], vector.ratio) for vector in settings.chat_vectors],
        skip=settings.skip,
        special_ids=_special_ids(settings, base_dir, chat_dir),
        dtype=next((storage for storage, name in TORCH_NAMES.items() if name == settings.dtype), ""),
    )
    if settings.skip is None and plan.skip:
        context.progress.note(f"the vocabularies differ, so no vector is added to {' and '.join(plan.skip)}")
    found = chat_format(chat_dir, base_dir) if settings.chat_template else "chat_template is false"
    if settings.chat_template and isinstance(found, str):
        context.progress.note(f"the chat template stays the base's: {found}")
    counts = write_model(
        context.out_dir,
        base.architecture,
        plan.planned,
        like=_write_tokenizer(base_dir, context.out_dir, found),
        tokenizer_dir=None,
        shard_bytes=settings.shard_bytes,
        progress=context.progress,
    )
    return {
        "vectors": [
            {"chat": model_label(vector.chat), "base": model_label(vector.base), "ratio": vector.ratio}
            for vector in settings.chat_vectors
        ],
        "skip": list(plan.skip),
        "num_tensors_changed": plan.num_changed,
        "num_tensors_skipped": dict(plan.num_skipped),
        "num_special_rows": plan.num_special_rows,
        "chat_template": "of the last chat model" if isinstance(found, ChatFormat) else f"of the base: {found}",
        **counts,
    }


def _special_ids(settings: ChatVectorSettings, base_dir: Path, chat_dir: Path) -> dict[int, int]:
    if not settings.special_tokens:
        return {}
    own, chat = settings.special_tokens.keys(), settings.special_tokens.values()
    return dict(zip(token_ids(base_dir, own), token_ids(chat_dir, chat), strict=True))


def _write_tokenizer(base_dir: Path, out_dir: Path, found: ChatFormat | str) -> dict[str, Any]:
    """The base's tokenizer files with the chat format, if there is one; returns the config to follow."""
    copy_tokenizer_files(base_dir, out_dir)
    config = read_config(base_dir)
    if isinstance(found, str):
        return config
    found.write(out_dir)
    return config | {"eos_token_id": found.eos_token_id}
