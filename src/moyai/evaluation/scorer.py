"""Exact scoring: log-probabilities of wanted tokens, in float32, many trees to a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from moyai.forest.model import ForestModel, load_forest_model
from moyai.forest.row import OWNER_STRIDE, Row, pack_row
from moyai.forest.tree import Tree
from moyai.progress import Bar

# Attention costs the square of a row's length: longer rows save little on a processor.
_ROW_TOKENS = 1024


class Scorer:
    """Scores trees with one model."""

    def __init__(self, checkpoint_dir: Path, device: torch.device) -> None:
        self.device = device
        self.model: ForestModel = load_forest_model(checkpoint_dir, precision=torch.float32, device=device).eval()
        self.num_experts = getattr(self.model.config, "num_local_experts", 1) if self.model.is_moe else 1
        self.chosen_counts: torch.Tensor | None = None
        """int64 [layers, experts]: how often each expert was chosen since `reset_load`."""

    def reset_load(self) -> None:
        """Start counting the experts' load anew."""
        self.chosen_counts = None

    def log_probs(self, trees: Sequence[Tree], bar: Bar) -> list[dict[int, float]]:
        """For each tree, the weighted sum of log-probabilities (nats) of each owner's wanted tokens."""
        results: list[dict[int, float]] = [{} for _ in trees]
        order = sorted(range(len(trees)), key=lambda index: -trees[index].num_tokens)
        for members in _rows(trees, order):
            row = pack_row([trees[index] for index in members])
            for owner, value in self._score(row).items():
                results[members[owner // OWNER_STRIDE]][owner % OWNER_STRIDE] = value
            bar.advance(row.num_tokens)
        return results

    @torch.no_grad()
    def _score(self, row: Row) -> dict[int, float]:
        if self.device.type != "cpu":
            row = Row(**{k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in vars(row).items()})
        scores = self.model(row)
        if scores.router_logits_LE:
            self._count_load(scores.router_logits_LE)
        sums: dict[int, float] = {}
        weighted_W = (scores.log_probs_W.double() * row.weights_W).tolist()
        for owner, value in zip(row.owners_W.tolist(), weighted_W, strict=True):
            sums[owner] = sums.get(owner, 0.0) + value
        return sums

    def _count_load(self, router_logits_LE: Sequence[torch.Tensor]) -> None:
        num_active = self.model.config.num_experts_per_tok
        counts = torch.stack(
            [
                torch.bincount(logits_LE.topk(num_active, -1).indices.flatten(), minlength=self.num_experts)
                for logits_LE in router_logits_LE
            ]
        )
        self.chosen_counts = counts if self.chosen_counts is None else self.chosen_counts + counts

    def expert_load(self) -> list[list[float]] | None:
        """Share of the choices that fell on each expert, [layers][experts], since `reset_load`; None if dense."""
        if self.chosen_counts is None:
            return None
        shares = self.chosen_counts.double() / self.chosen_counts.sum(1, keepdim=True)
        return [[round(value, 4) for value in layer] for layer in shares.tolist()]


def _rows(trees: Sequence[Tree], order: Sequence[int]) -> Iterator[list[int]]:
    """Trees of similar length together, up to a row's tokens; a longer tree is a row of its own."""
    members: list[int] = []
    used = 0
    for index in order:
        if members and used + trees[index].num_tokens > _ROW_TOKENS:
            yield members
            members, used = [], 0
        members.append(index)
        used += trees[index].num_tokens
    if members:
        yield members
