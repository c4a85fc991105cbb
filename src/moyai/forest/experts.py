"""Experts on a processor: one after the other, each on the tokens that chose it.

transformers' own loop indexes the stacked weights with a tensor, which copies an expert's weights forwards, and backwards
fills a gradient of all experts' size once per expert.  Here each expert's weight gradient is written once, in its place.

Shape letters: T tokens, K active experts, D hidden, F intermediate, E experts, n tokens of one expert, N the same padded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


def experts_one_by_one(
    module: Any, hidden_TD: torch.Tensor, chosen_TK: torch.Tensor, weights_TK: torch.Tensor
) -> torch.Tensor:
    """The experts' weighted sum, [T, D], in the dtype of `hidden_TD`; registered with transformers.

    Only for gated experts with SiLU (Mixtral); products run in the autocast dtype.
    """
    device = hidden_TD.device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_TD.dtype
    result_TD: torch.Tensor = _Experts.apply(
        hidden_TD, weights_TK, module.gate_up_proj, module.down_proj, chosen_TK, precision
    )
    return result_TD


_BLOCK = 128
"""Tokens of an expert are padded to a multiple of this.  The matrix library prepares a kernel for every new shape, which
takes longer than the product itself; a few shapes that come back again and again are prepared once."""


def _places(
    chosen_TK: torch.Tensor, weights_TK: torch.Tensor, expert: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens of an expert and their slots, [n]; tokens padded to whole blocks by token 0, [N]; weights, 0 for padding."""
    tokens, slots = (chosen_TK == expert).nonzero(as_tuple=True)
    num_padding = -len(tokens) % _BLOCK
    padded_N = functional.pad(tokens, (0, num_padding))
    weights_N1 = functional.pad(weights_TK[tokens, slots].float(), (0, num_padding))[:, None]
    return slots, padded_N, weights_N1


class _Experts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: torch.Tensor,
        weights_TK: torch.Tensor,
        gate_up_EGD: torch.Tensor,
        down_EDF: torch.Tensor,
        chosen_TK: torch.Tensor,
        precision: torch.dtype,
    ) -> torch.Tensor:
        input_TD = hidden_TD.to(precision)
        result_TD = torch.zeros_like(hidden_TD, dtype=torch.float32)
        places, gate_ups = [], []
        for expert in range(len(gate_up_EGD)):
            slots, tokens_N, weights_N1 = _places(chosen_TK, weights_TK, expert)
            gate_up_NG = input_TD[tokens_N] @ gate_up_EGD[expert].to(precision).T
            gate_NF, up_NF = gate_up_NG.chunk(2, dim=-1)
            output_ND = (functional.silu(gate_NF) * up_NF) @ down_EDF[expert].to(precision).T
            result_TD.index_add_(0, tokens_N, output_ND * weights_N1)
            places.append((slots, tokens_N, weights_N1))
            gate_ups.append(gate_up_NG)
        ctx.places, ctx.precision, ctx.hidden_dtype = places, precision, hidden_TD.dtype
        ctx.save_for_backward(input_TD, weights_TK, gate_up_EGD, down_EDF, *gate_ups)
        return result_TD.to(hidden_TD.dtype)

    @staticmethod
    def backward(ctx: Any, grad_TD: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input_TD, weights_TK, gate_up_EGD, down_EDF, *gate_ups = ctx.saved_tensors
        precision = ctx.precision
        wants_weights = ctx.needs_input_grad[2]
        grad_input_TD = torch.zeros(input_TD.shape, dtype=torch.float32, device=input_TD.device)
        grad_weights_TK = torch.zeros_like(weights_TK)
        grad_gate_up_EGD = torch.empty_like(gate_up_EGD) if wants_weights else None
        grad_down_EDF = torch.empty_like(down_EDF) if wants_weights else None
        for expert, (slots, tokens_N, weights_N1) in enumerate(ctx.places):
            num_tokens = len(slots)
            gate_NF, up_NF = gate_ups[expert].chunk(2, dim=-1)
            sigmoid_NF = gate_NF.sigmoid()
            silu_NF = gate_NF * sigmoid_NF
            hidden_NF = silu_NF * up_NF
            grad_ND = grad_TD[tokens_N].to(precision)
            weight_N1 = weights_N1.to(precision)
            grad_hidden_NF = grad_ND @ down_EDF[expert].to(precision)
            # output · gradient, without the output: (W h) · g = h · (Wᵀ g)
            along_N = (grad_hidden_NF * hidden_NF).sum(-1, dtype=torch.float32)
            grad_weights_TK[tokens_N[:num_tokens], slots] = along_N[:num_tokens].to(grad_weights_TK.dtype)
            grad_hidden_NF = grad_hidden_NF * weight_N1
            grad_gate_NF = grad_hidden_NF * up_NF * sigmoid_NF * (1 + gate_NF * (1 - sigmoid_NF))
            grad_gate_up_NG = torch.cat([grad_gate_NF, grad_hidden_NF * silu_NF], dim=-1)
            grad_input_TD.index_add_(0, tokens_N, (grad_gate_up_NG @ gate_up_EGD[expert].to(precision)).float())
            if grad_gate_up_EGD is not None and grad_down_EDF is not None:
                grad_gate_up_EGD[expert] = grad_gate_up_NG.T @ input_TD[tokens_N]
                grad_down_EDF[expert] = (grad_ND * weight_N1).T @ hidden_NF
        return grad_input_TD.to(ctx.hidden_dtype), grad_weights_TK, grad_gate_up_EGD, grad_down_EDF, None, None
