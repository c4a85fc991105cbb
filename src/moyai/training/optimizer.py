"""Who moves, how fast, and when."""

from __future__ import annotations

from typing import Any

import torch

from moyai.forest.model import ForestModel
from moyai.recipe.settings import TrainingSettings


def freeze(model: ForestModel, settings: TrainingSettings) -> int:
    """Stop the weights that `settings.trainable` leaves out; returns how many values move."""
    embeddings = {id(p) for module in (model.embedding, model.head) for p in module.parameters()}
    new = {id(module.new_VD) for module in (model.embedding, model.head)}
    for name, parameter in model.named_parameters():
        if settings.trainable == "new-embeddings":
            moves = id(parameter) in new
        elif settings.trainable == "no-attention":
            moves = id(parameter) in embeddings or ".self_attn." not in name
        else:
            moves = True
        parameter.requires_grad_(moves and parameter.numel() > 0)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def make_optimizer(model: ForestModel, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser over what moves; new embedding rows have their own rate.  Frozen weights have no state."""
    new = {id(module.new_VD) for module in (model.embedding, model.head)}
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in moving if id(p) not in new], "lr": settings.learning_rate},
        {"params": [p for p in moving if id(p) in new], "lr": settings.embedding_learning_rate or settings.learning_rate},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adafactor":
        # one tensor at a time: the grouped form holds several copies of all gradients
        return torch.optim.Adafactor(
            groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=False
        )
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=settings.weight_decay, fused=True
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, num_steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear rise over the warm-up, then linear fall to `final_rate`."""
    num_warmup = round(settings.warmup * num_steps)

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / num_warmup
        share = (step - num_warmup) / max(1, num_steps - num_warmup)
        return 1.0 - (1.0 - settings.final_rate) * share

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
