"""The experts' balancing loss, computed from router logits with each token weighted by its sequences.

Shape letters: L tokens, E experts, K active experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def balance_loss(
    router_logits_LE: Sequence[torch.Tensor], owners_L: torch.Tensor, *, num_active: int
) -> torch.Tensor:
    """Mean over layers of E · Σ_e f_e · P_e; a perfectly balanced layer gives `num_active`.

    f_e is the share of tokens that chose expert e among their K, P_e its mean probability.  A token counts as often as
    there are sequences that own it, so a shared prefix weighs as much as in one-sequence-at-a-time training; padding
    counts 0.

    Source: Switch Transformers (arXiv 2101.03961) eq. 4, in the top-k form of transformers' Mixtral; there all layers are
    flattened into one, here each layer balances on its own.
    """
    weight_L = owners_L / owners_L.sum()
    losses = []
    for logits_LE in router_logits_LE:
        probs_LE = logits_LE.float().softmax(-1)
        chosen_LE = torch.zeros_like(probs_LE).scatter_(-1, probs_LE.topk(num_active, -1).indices, 1.0)
        share_E = (chosen_LE * weight_L[:, None]).sum(0)
        mean_E = (probs_LE * weight_L[:, None]).sum(0)
        losses.append(probs_LE.shape[-1] * (share_E * mean_E).sum())
    return torch.stack(losses).mean()
