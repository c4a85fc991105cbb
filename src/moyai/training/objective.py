"""What an objective gives the one training loop: rows, and a loss for a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from moyai.forest.model import Scores
from moyai.forest.row import Row
from moyai.forest.tree import Tree


@dataclass(frozen=True)
class Rows:
    """Everything one training run will see, in order."""

    trees: Sequence[Sequence[Tree]]
    """One list of trees per row; they may be made when they are asked for."""
    sources: Mapping[str, Mapping[str, Any]]
    """For the record: documents, tokens, epochs, and what was left out and why, per source."""
    num_tokens: int
    """Of all rows, padding not counted."""


def next_token_loss(scores: Scores, row: Row, total_weight: torch.Tensor | float) -> torch.Tensor:
    """Weighted mean negative log-likelihood, in nats; `total_weight` is the whole optimiser step's."""
    return -(scores.log_probs_W * row.weights_W).sum() / total_weight
