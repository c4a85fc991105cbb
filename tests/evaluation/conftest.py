"""Tiny checkpoints and the naive way to score: transformers, one sequence at a time, in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny import write_tiny_checkpoint

FAMILIES = ["llama", "mixtral"]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("evaluation")
    return {family: write_tiny_checkpoint(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="session")
def naive_models(checkpoints: dict[str, Path]) -> dict[str, Any]:
    return {
        family: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        for family, path in checkpoints.items()
    }


@pytest.fixture(scope="session")
def naive_log_probs(naive_models: dict[str, Any]) -> Callable[[str, list[int]], list[float]]:
    """Log-probability of every token of a sequence but its first."""

    @torch.no_grad()
    def score(family: str, ids: list[int]) -> list[float]:
        logits_LV = naive_models[family](input_ids=torch.tensor([ids])).logits[0]
        log_probs_LV = logits_LV.double().log_softmax(-1)
        return [log_probs_LV[place - 1, ids[place]].item() for place in range(1, len(ids))]

    return score
