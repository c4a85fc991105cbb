"""What pretrain and sft share: load, train, write the trained checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from moyai.checkpoint.config import copy_tokenizer_files, write_config
from moyai.checkpoint.disk import require_space
from moyai.forest.model import ForestModel, load_forest_model
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import TrainingSettings
from moyai.stages.contract import StageContext
from moyai.tokenizer.chat.format import ChatFormat
from moyai.training.objective import Rows
from moyai.training.optimizer import freeze
from moyai.training.precision import keep_large_blocks, pick_device, pick_precision
from moyai.training.save import write_trained
from moyai.training.trainer import tokens_done, train

LOG_NAME = "training_log.jsonl"


def train_checkpoint(
    rows: Rows,
    settings: TrainingSettings,
    context: StageContext,
    *,
    label: str,
    chat_format: ChatFormat | None = None,
) -> dict[str, Any]:
    """Train the input checkpoint on `rows` and write the result; a killed run goes on from its last saved state.

    Args:
        rows: what is learnt.
        settings: how.
        context: the stage's.
        label: of the progress bar.
        chat_format: what the result has in place of its parent's.
    """
    parent_dir = only_parent(context)
    keep_large_blocks()
    device = pick_device()
    precision = pick_precision(settings.precision, device)
    torch.manual_seed(settings.seed)
    model = load_forest_model(parent_dir, precision=precision, device=device)
    num_trainable = freeze(model, settings)
    require_space(context.out_dir, _disk_bytes(model, num_trainable, settings))
    log_path = context.out_dir / LOG_NAME
    done = tokens_done(context.resume_dir, log_path)
    with context.progress.bar(label, total=rows.num_tokens, unit="tokens", done=done) as bar:
        train(model, rows, settings, work_dir=context.resume_dir, log_path=log_path, bar=bar)
    write_trained(model, context.out_dir, context.progress)
    copy_tokenizer_files(parent_dir, context.out_dir)
    config = read_config(parent_dir)
    if chat_format is not None:
        chat_format.write(context.out_dir)
        config |= {"eos_token_id": chat_format.eos_token_id}
    write_config(context.out_dir, read_architecture(parent_dir), dtype="F32", like=config)
    log = [json.loads(line) for line in log_path.read_text(encoding="utf-8").splitlines()]
    return {
        "num_steps": len(log),
        "num_tokens": rows.num_tokens,
        "tokens_per_second": round(sum(line["tokens"] for line in log) / sum(line["seconds"] for line in log), 1),
        "precision": str(precision).removeprefix("torch."),
        "device": device.type,
        "optimizer": settings.optimizer,
        "num_trainable_parameters": num_trainable,
        "first_loss": log[0]["loss"],
        "last_loss": log[-1]["loss"],
        "sources": rows.sources,
    }


def _disk_bytes(model: ForestModel, num_trainable: int, settings: TrainingSettings) -> int:
    """The result, and two saved states at a time: the last whole one and the one being written."""
    num_states = 2 if settings.optimizer == "adamw" else 0
    all_values: int = sum(parameter.numel() for parameter in model.parameters())
    return 4 * (all_values + 2 * num_trainable * (1 + num_states))


def only_parent(context: StageContext) -> Path:
    """The one checkpoint that the stage reads: its first input, before what was packed for it."""
    return next(iter(context.inputs.values()))
