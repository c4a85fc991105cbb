"""What two checkpoints have in common, number for number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from moyai.checkpoint.reader import CheckpointReader
from moyai.evaluation.shared_tensors import Stored, compare_shared, same_values
from moyai.recipe.architecture import read_architecture
from tiny import tiny_model


def stored(directory: Path) -> Stored:
    return Stored(read_architecture(directory), CheckpointReader(directory))


def written(directory: Path, family: str, *, tied: bool = True, dtype: torch.dtype = torch.float32) -> Path:
    tiny_model(family, tied=tied).to(dtype).save_pretrained(directory)
    return directory


def test_a_wider_dtype_holds_the_same_numbers(tmp_path: Path) -> None:
    narrow = written(tmp_path / "narrow", "llama", dtype=torch.bfloat16)
    wide = written(tmp_path / "wide", "llama", dtype=torch.bfloat16)
    weights = {name: weight.float() for name, weight in load_file(wide / "model.safetensors").items()}
    save_file(weights, wide / "model.safetensors")
    assert compare_shared(stored(narrow), stored(wide)).different == ()
    weights["model.norm.weight"][3] += 1e-6
    save_file(weights, wide / "model.safetensors")
    assert compare_shared(stored(narrow), stored(wide)).different == ("model.norm.weight",)


def test_a_head_that_is_tied_on_one_side(tmp_path: Path) -> None:
    tied, free = written(tmp_path / "tied", "llama"), written(tmp_path / "free", "llama", tied=False)
    weights = load_file(free / "model.safetensors")
    weights |= load_file(tied / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, free / "model.safetensors")
    assert compare_shared(stored(tied), stored(free)).different == ()
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, free / "model.safetensors")
    assert compare_shared(stored(tied), stored(free)).different == ("lm_head.weight",)


def test_what_only_one_side_has(tmp_path: Path) -> None:
    """Qwen2's biases are no part of a Llama; its feed-forward matrices have the same names."""
    found = compare_shared(stored(written(tmp_path / "llama", "llama")), stored(written(tmp_path / "qwen2", "qwen2")))
    biases = {f"model.layers.{layer}.self_attn.{part}_proj.bias" for layer in range(2) for part in "qkv"}
    assert biases <= set(found.different)
    assert len(found.different) + len(found.identical) == 1 + 2 * (9 + 3) + 1 + 1


@pytest.mark.parametrize(
    ("change", "factor", "same"),
    [
        (lambda weight: weight, 1.0, True),
        (lambda weight: weight * 0.5, 0.5, True),
        (lambda weight: weight * 0.5, 1.0, False),
        (lambda weight: weight.view(-1), 1.0, False),
        (lambda weight: torch.where(weight == weight.max(), weight.nextafter(torch.tensor(9.0)), weight), 1.0, False),
    ],
)
def test_same_values(change: Callable[[torch.Tensor], torch.Tensor], factor: float, same: bool, tmp_path: Path) -> None:
    # two pieces of rows, so that the second is looked at too
    weight = torch.arange(2**20, dtype=torch.float32).view(2**10, 2**10) / 2**20
    for name, values in (("a", weight), ("b", change(weight))):
        (tmp_path / name).mkdir()
        save_file({"x": values.contiguous()}, tmp_path / name / "model.safetensors")
    first, second = (CheckpointReader(tmp_path / name).tensors["x"] for name in "ab")
    assert same_values(first, second, factor=factor) is same
