"""Is one model the same function as another?  The largest difference of their logits on real text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from moyai.progress import Bar

_WINDOW_TOKENS = 256

transformers_logging.disable_progress_bar()  # moyai shows its own


@dataclass(frozen=True)
class Certificate:
    """What was compared and how far apart the two were."""

    max_abs_logit_difference: float
    max_abs_logit: float
    num_tokens: int
    dtype: str = "float32"


@torch.no_grad()
def compare_functions(first_dir: Path, second_dir: Path, ids: list[int], bar: Bar) -> Certificate:
    """Run both checkpoints on the same token ids, in windows, in float32 on the processor.

    transformers' own forward pass is used for both, with all logits of every position, so that the comparison owes
    nothing to our own scoring code.
    """
    first: Any = AutoModelForCausalLM.from_pretrained(first_dir, dtype=torch.float32).eval()
    second: Any = AutoModelForCausalLM.from_pretrained(second_dir, dtype=torch.float32).eval()
    difference = largest = 0.0
    for start in range(0, len(ids), _WINDOW_TOKENS):
        window = torch.tensor([ids[start : start + _WINDOW_TOKENS]])
        ours, theirs = first(input_ids=window).logits, second(input_ids=window).logits
        difference = max(difference, (ours - theirs).abs().max().item())
        largest = max(largest, ours.abs().max().item())
        bar.advance(window.shape[1])
    return Certificate(difference, largest, len(ids))
