"""The output head, only where it is wanted, and never a [tokens x vocabulary] tensor.

The vocabulary is gone through in slices that fit the processor's cache: one pass for the log-sum-exp, and in the
backward pass one that makes each slice of the logits anew and turns it into gradients at once.

Shape letters: N wanted positions, D hidden size, V vocabulary, C one slice of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

_SLICE_VALUES = 4 * 1024 * 1024
"""Logits alive at a time: 16 MB in float32."""


def target_log_probs(
    hidden_ND: torch.Tensor, weights_VD: Sequence[torch.Tensor], targets_N: torch.Tensor
) -> torch.Tensor:
    """Log-probability of each target under softmax(hidden @ weight.T).

    Args:
        hidden_ND: hidden states; their dtype is that of the matrix products, sums are float32.
        weights_VD: the head in one or more blocks of rows, which together are the vocabulary.
        targets_N: int64.

    Returns:
        float32 [N], differentiable in `hidden_ND` and every block that asks for a gradient.
    """
    result: torch.Tensor = _TargetLogProbs.apply(hidden_ND, targets_N, *weights_VD)
    return result


class _TargetLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: torch.Tensor, targets_N: torch.Tensor, *weights_VD: torch.Tensor
    ) -> torch.Tensor:
        heads_VD = [weight_VD.to(hidden_ND.dtype) for weight_VD in weights_VD]
        device, num_wanted = hidden_ND.device, len(targets_N)
        largest_N = torch.full((num_wanted,), -torch.inf, device=device)
        sum_N, chosen_N = torch.zeros(2, num_wanted, device=device)
        for head_CD, first_id, *_ in _slices(heads_VD, num_wanted):
            logits_NC = (hidden_ND @ head_CD.T).float()
            rows, columns = _inside(targets_N, first_id, len(head_CD))
            chosen_N[rows] = logits_NC[rows, columns]
            new_largest_N = torch.maximum(largest_N, logits_NC.amax(1))
            sum_N = sum_N * (largest_N - new_largest_N).exp() + logits_NC.sub_(new_largest_N[:, None]).exp_().sum(1)
            largest_N = new_largest_N
        log_sum_N = largest_N + sum_N.log()
        ctx.weight_dtypes = [weight_VD.dtype for weight_VD in weights_VD]
        ctx.save_for_backward(hidden_ND, targets_N, log_sum_N, *heads_VD)
        return chosen_N - log_sum_N

    @staticmethod
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_ND, targets_N, log_sum_N, *heads_VD = ctx.saved_tensors
        grad_hidden_ND = torch.zeros(hidden_ND.shape, dtype=torch.float32, device=hidden_ND.device)
        grad_weights_VD = [
            torch.empty(head_VD.shape, dtype=dtype, device=head_VD.device) if needed else None
            for head_VD, dtype, needed in zip(heads_VD, ctx.weight_dtypes, ctx.needs_input_grad[2:], strict=True)
        ]
        for head_CD, first_id, block, start in _slices(heads_VD, len(targets_N)):
            # d(log p)/d(logits) = onehot - softmax, times what comes from above
            grad_NC = (hidden_ND @ head_CD.T).float().sub_(log_sum_N[:, None]).exp_().mul_(-grad_N[:, None])
            rows, columns = _inside(targets_N, first_id, len(head_CD))
            grad_NC[rows, columns] += grad_N[rows]
            grad_NC = grad_NC.to(hidden_ND.dtype)
            grad_hidden_ND += grad_NC @ head_CD
            grad_weight_VD = grad_weights_VD[block]
            if grad_weight_VD is not None:
                grad_weight_VD[start : start + len(head_CD)] = grad_NC.T @ hidden_ND
        return grad_hidden_ND.to(hidden_ND.dtype), None, *grad_weights_VD


def _slices(heads_VD: Sequence[torch.Tensor], num_wanted: int) -> Iterator[tuple[torch.Tensor, int, int, int]]:
    """Slices of all blocks in order: rows, id of the first row, number of the block, first row within the block."""
    width = max(256, _SLICE_VALUES // max(1, num_wanted))
    offset = 0
    for block, head_VD in enumerate(heads_VD):
        for start in range(0, len(head_VD), width):
            yield head_VD[start : start + width], offset + start, block, start
        offset += len(head_VD)


def _inside(targets_N: torch.Tensor, first_id: int, num_ids: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = ((targets_N >= first_id) & (targets_N < first_id + num_ids)).nonzero()[:, 0]
    return rows, targets_N[rows] - first_id
