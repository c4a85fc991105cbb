"""The logits of two models over the whole vocabulary, without a [tokens × vocabulary] tensor.

Shape letters: T tokens, N a block of them, H hidden size, V vocabulary, C a slice of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from moyai.layerwise.model import LayerwiseModel

_LOGITS = 1 << 20
"""Logits of each model alive at a time: 4 MB in float32."""

NO_TARGET = -1


@dataclass(frozen=True)
class LogitComparison:
    """Two models' logits at every position."""

    max_abs: float
    """Of the first model."""
    max_abs_difference: float
    mean_abs_difference: float
    losses: tuple[float, float]
    """Of each model: mean negative log-probability of the targets, in nats."""


def compare_logits(
    models: Sequence[LayerwiseModel],
    hidden_TH: Sequence[torch.Tensor],
    targets_T: torch.Tensor,
    advance: Callable[[float], None],
) -> LogitComparison:
    """Compare two models of one vocabulary and hidden size.

    Args:
        models: the two.
        hidden_TH: of each model, what its last layer gave.
        targets_T: int64: the token that follows each position; `NO_TARGET` where none is known.
        advance: told the share of the work that each step was; they add up to 1.
    """
    first, second = models
    normed_TH = [model.final_norm(hidden) for model, hidden in zip(models, hidden_TH, strict=True)]
    sums = _Sums(targets_T)
    for (first_id, ours_CH), (_, theirs_CH) in zip(first.head_slices(), second.head_slices(), strict=True):
        edges = [*range(0, len(targets_T), max(1, _LOGITS // len(ours_CH))), len(targets_T)]
        for start, stop in pairwise(edges):
            block = slice(start, stop)
            sums.add(block, first_id, normed_TH[0][block] @ ours_CH.T, normed_TH[1][block] @ theirs_CH.T)
        advance(len(ours_CH) / first.architecture.vocab_size)
    return sums.result(first.architecture.vocab_size)


class _Sums:
    """What is kept of each slice, in float64."""

    def __init__(self, targets_T: torch.Tensor) -> None:
        self._targets_T = targets_T
        self._log_sum_T = [torch.full(targets_T.shape, -torch.inf, dtype=torch.float64) for _ in range(2)]
        self._chosen_T = [torch.zeros(targets_T.shape, dtype=torch.float64) for _ in range(2)]
        # tensors, because their maximum keeps a NaN
        self._max = self._max_difference = torch.tensor(0.0)
        self._sum_difference = 0.0

    def add(self, block: slice, first_id: int, *logits_NC: torch.Tensor) -> None:
        targets_N = self._targets_T[block]
        rows = ((targets_N >= first_id) & (targets_N < first_id + logits_NC[0].shape[1])).nonzero()[:, 0]
        for log_sum_T, chosen_T, logits in zip(self._log_sum_T, self._chosen_T, logits_NC, strict=True):
            log_sum_T[block] = torch.logaddexp(log_sum_T[block], logits.logsumexp(1).double())
            chosen_T[block][rows] = logits[rows, targets_N[rows] - first_id].double()
        difference_NC = (logits_NC[0] - logits_NC[1]).abs_()
        self._max = torch.maximum(self._max, logits_NC[0].abs().max())
        self._max_difference = torch.maximum(self._max_difference, difference_NC.max())
        self._sum_difference += difference_NC.sum(dtype=torch.float64).item()

    def result(self, vocab_size: int) -> LogitComparison:
        known_T = self._targets_T != NO_TARGET
        losses = [
            (log_sum_T - chosen_T)[known_T].mean().item()
            for log_sum_T, chosen_T in zip(self._log_sum_T, self._chosen_T, strict=True)
        ]
        return LogitComparison(
            max_abs=self._max.item(),
            max_abs_difference=self._max_difference.item(),
            mean_abs_difference=self._sum_difference / (len(self._targets_T) * vocab_size),
            losses=(losses[0], losses[1]),
        )
