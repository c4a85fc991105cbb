"""The one training loop: transformers' Trainer, fed with rows of token forests.

A micro-batch is one row.  The loss of a step is the weighted mean over all its rows, on all ranks, so that the split
into rows never changes the gradient.  Every saved state carries a mark that is written last; a state without it was
cut short by a crash and is thrown away.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from moyai.checkpoint.disk import require_space
from moyai.forest.model import ForestModel
from moyai.forest.row import Row, pack_row
from moyai.progress import Bar
from moyai.recipe.settings import TrainingSettings
from moyai.training.balance import balance_loss
from moyai.training.objective import Rows, next_token_loss
from moyai.training.optimizer import make_optimizer, make_schedule

_WHOLE_MARK = "whole"
_WEIGHTS_NAME = "trained.safetensors"


class RowDataset(Dataset[Row]):
    """Packs row `i` when it is asked for."""

    def __init__(self, rows: Rows, num_slots: int) -> None:
        self.rows = rows
        self.num_slots = num_slots

    def __len__(self) -> int:
        return len(self.rows.trees)

    def __getitem__(self, index: int) -> Row:
        return pack_row(self.rows.trees[index], self.num_slots)


class ForestTrainer(Trainer):
    """Trainer whose batches are rows and whose saved state holds only what is trained."""

    def __init__(self, model: ForestModel, rows: Rows, settings: TrainingSettings, work_dir: Path) -> None:
        self.settings = settings
        self.step_metrics: dict[str, float] = {}
        super().__init__(
            model=model,
            args=_arguments(settings, work_dir, model),
            train_dataset=RowDataset(rows, settings.row_tokens),
            data_collator=_only_row,
        )
        # Our loss is already that of the whole optimiser step.
        self.loss_is_scaled_for_ga = True

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW or Adafactor over what moves."""
        self.optimizer = make_optimizer(self.model, self.settings)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """A linear rise and fall."""
        self.lr_scheduler = make_schedule(optimizer or self.optimizer, self.settings, num_training_steps)
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # Rows are shuffled when they are made, so a resumed run sees the same ones.
        return SequentialSampler(self.train_dataset)

    def _get_num_items_in_batch(self, batch_samples: list[Row], device: torch.device) -> torch.Tensor:
        total = torch.stack([row.weights_W.sum() for row in batch_samples]).sum().to(device)
        if self.args.world_size > 1:
            # gradients are averaged over ranks, so each rank's share is scaled up by their number
            total = self.accelerator.gather(total).sum() / self.args.world_size
        return total

    def _prepare_inputs(self, inputs: Row) -> Row:
        device = self.args.device
        return inputs if device.type == "cpu" else Row(**{k: _moved(v, device) for k, v in vars(inputs).items()})

    def _prepare_context_parallel_inputs(self, model: Any, inputs: Row) -> tuple[Any, Row]:
        from contextlib import nullcontext

        return nullcontext, inputs

    def _track_num_input_tokens(self, inputs: Row) -> None:
        pass

    def floating_point_ops(self, inputs: Row) -> int:
        """The plan counts operations; the loop does not."""
        return 0

    def compute_loss(
        self, model: ForestModel, inputs: Row, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Weighted next-token loss, plus the experts' balancing loss."""
        scores = model(inputs)
        loss = next_token_loss(scores, inputs, num_items_in_batch)
        metrics = {"loss": loss.item(), "tokens": float(inputs.num_tokens)}
        if scores.router_logits_LE and self.settings.router_balance:
            balance = balance_loss(
                scores.router_logits_LE,
                inputs.owners_per_token_BL[0],
                num_active=self.model.config.num_experts_per_tok,
            )
            balance = balance / self.current_gradient_accumulation_steps
            metrics["balance_loss"] = balance.item()
            loss = loss + self.settings.router_balance * balance
        for name, value in metrics.items():
            self.step_metrics[name] = self.step_metrics.get(name, 0.0) + value
        return loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Asked beforehand: torch and safetensors tell of a full disk each in words of their own.
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        tensors = [*_trained(self.model).values(), *(value for value in moments if isinstance(value, torch.Tensor))]
        require_space(Path(self.args.output_dir), sum(tensor.nbytes for tensor in tensors))
        super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_file(_trained(self.model), Path(output_dir) / _WEIGHTS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trained = load_file(Path(resume_from_checkpoint) / _WEIGHTS_NAME)
        for name, parameter in _trained(self.model).items():
            parameter.copy_(trained.pop(name))
        assert not trained, "the saved state is of this very run"


class _Watcher(TrainerCallback):
    """Writes the training log, moves the bar, and asks for a save when enough time has passed."""

    def __init__(self, log_path: Path, bar: Bar, save_every_seconds: float) -> None:
        self.log_path, self.bar, self.save_every_seconds = log_path, bar, save_every_seconds
        self.last_save = self.last_step = time.monotonic()
        self.trainer: ForestTrainer | None = None

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        """One line a step, flushed; the Trainer logs after each."""
        if logs is None or "learning_rate" not in logs:
            return
        assert self.trainer is not None
        metrics, self.trainer.step_metrics = self.trainer.step_metrics, {}
        now = time.monotonic()
        line = {"step": state.global_step, **metrics, "learning_rate": logs["learning_rate"]}
        line |= {"grad_norm": float(logs.get("grad_norm", 0.0)), "seconds": now - self.last_step}
        self.last_step = now
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.bar.advance(metrics["tokens"], loss=metrics["loss"])

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> TrainerControl:
        """A save is due by the clock, not by the number of steps: steps differ a thousandfold between machines."""
        due = time.monotonic() - self.last_save >= self.save_every_seconds
        control.should_save = due and state.global_step < state.max_steps
        return control

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the state as whole and drop the older ones."""
        saved = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        _to_disk(saved)
        (saved / _WHOLE_MARK).touch()
        for older in Path(args.output_dir).glob("checkpoint-*"):
            if older != saved:
                shutil.rmtree(older)
        self.last_save = time.monotonic()


def _to_disk(directory: Path) -> None:
    """Return when the files of a directory are on the disk, not only in memory."""
    for path in [*directory.iterdir(), directory]:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def train(
    model: ForestModel, rows: Rows, settings: TrainingSettings, *, work_dir: Path, log_path: Path, bar: Bar
) -> None:
    """Train `model` in place on `rows`, going on from the last whole state in `work_dir`."""
    state_dir = last_whole_state(work_dir)
    watcher = _Watcher(log_path, bar, settings.save_every_seconds)
    trainer = ForestTrainer(model, rows, settings, work_dir)
    watcher.trainer = trainer
    trainer.remove_callback(PrinterCallback)  # standard output is for data
    trainer.add_callback(watcher)
    trainer.train(resume_from_checkpoint=str(state_dir) if state_dir else None)


def tokens_done(work_dir: Path, log_path: Path) -> float:
    """Tokens that a resumed run need not train on again; forgets the log's lines of steps that will be done again."""
    work_dir.mkdir(parents=True, exist_ok=True)
    state_dir = last_whole_state(work_dir)
    return _trim_log(log_path, int(state_dir.name.removeprefix("checkpoint-")) if state_dir else 0)


def last_whole_state(work_dir: Path) -> Path | None:
    """The newest saved state that carries its mark; the others are removed."""
    whole: list[Path] = []
    for state_dir in work_dir.glob("checkpoint-*"):
        if (state_dir / _WHOLE_MARK).exists():
            whole.append(state_dir)
        else:
            shutil.rmtree(state_dir)
    return max(whole, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def _trim_log(log_path: Path, steps_done: int) -> float:
    """Forget the lines of steps that will be done again; returns the tokens of those that stay."""
    if not log_path.exists():
        return 0.0
    kept = []
    for line in log_path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= steps_done:
                kept.append(line)
        except json.JSONDecodeError:
            break  # the line the crash cut short
    log_path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    return sum(float(json.loads(line)["tokens"]) for line in kept)


def _trained(model: ForestModel) -> dict[str, torch.Tensor]:
    return {name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad}


def _only_row(rows: list[Row]) -> Row:
    (row,) = rows
    return row


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value


def _arguments(settings: TrainingSettings, work_dir: Path, model: ForestModel) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work_dir),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.batch_tokens // settings.row_tokens,
        max_grad_norm=settings.clip_norm,
        logging_steps=1,
        save_strategy="steps",
        save_steps=10**9,
        seed=settings.seed,
        use_cpu=next(model.parameters()).device.type == "cpu",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        average_tokens_across_devices=True,
        logging_nan_inf_filter=False,
    )
