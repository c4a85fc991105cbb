"""Experts on a processor: one after the other, each on the tokens that chose it.

transformers' own loop indexes the stacked weights with a tensor, which copies an expert's weights forwards and fills a
gradient of all experts' size backwards, once per expert.  Taking the stack apart once does neither.

Shape letters: T tokens, K active experts, D hidden, F intermediate, E experts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


def experts_one_by_one(
    module: Any, hidden_TD: torch.Tensor, chosen_TK: torch.Tensor, weights_TK: torch.Tensor
) -> torch.Tensor:
    """The experts' weighted sum, [T, D], in the dtype of `hidden_TD`."""
    gate_up_EFD, down_EDF = module.gate_up_proj.unbind(0), module.down_proj.unbind(0)
    result_TD = torch.zeros_like(hidden_TD)
    for expert in range(len(gate_up_EFD)):
        tokens, slots = (chosen_TK == expert).nonzero(as_tuple=True)
        if not len(tokens):
            continue
        gate_NF, up_NF = functional.linear(hidden_TD[tokens], gate_up_EFD[expert]).chunk(2, dim=-1)
        output_ND = functional.linear(module.act_fn(gate_NF) * up_NF, down_EDF[expert])
        weighted_ND = output_ND * weights_TK[tokens, slots, None]
        result_TD = result_TD.index_add(0, tokens, weighted_ND.to(hidden_TD.dtype))
    return result_TD
