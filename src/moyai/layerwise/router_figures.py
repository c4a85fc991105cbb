"""How a router shares tokens out among its experts.

Shape letters: T tokens, E experts, K chosen experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from moyai.layerwise.layer import Routing


@dataclass(frozen=True)
class RouterFigures:
    """One layer's router over some text."""

    load: tuple[float, ...]
    """Share of the choices that fell on each expert; they add up to 1."""
    entropy_of_mean: float
    """Of the routing distribution averaged over the tokens, in nats; ln E where all experts are used alike."""
    mean_entropy: float
    """Of the routing distribution of a token, averaged over the tokens, in nats; 0 where the router is certain."""


class RouterCount:
    """Sums over the tokens of a text."""

    def __init__(self, num_experts: int) -> None:
        self._chosen_E = torch.zeros(num_experts, dtype=torch.int64)
        self._probability_E = torch.zeros(num_experts, dtype=torch.float64)
        self._entropy = 0.0
        self._num_tokens = 0

    def add(self, routing: Routing) -> None:
        """Count the tokens of a batch."""
        log_probs_TE = routing.logits_TE.double().log_softmax(-1)
        probs_TE = log_probs_TE.exp()
        self._chosen_E += torch.bincount(routing.chosen_TK.flatten(), minlength=len(self._chosen_E))
        self._probability_E += probs_TE.sum(0)
        self._entropy -= (probs_TE * log_probs_TE).sum().item()
        self._num_tokens += len(log_probs_TE)

    @property
    def unused(self) -> tuple[int, ...]:
        """Experts that no token chose."""
        return tuple((self._chosen_E == 0).nonzero().flatten().tolist())

    def figures(self) -> RouterFigures:
        """What they come to."""
        mean_E = self._probability_E / self._num_tokens
        return RouterFigures(
            load=tuple((self._chosen_E / self._chosen_E.sum()).tolist()),
            entropy_of_mean=torch.special.entr(mean_E).sum().item(),
            mean_entropy=self._entropy / self._num_tokens,
        )
