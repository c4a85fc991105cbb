"""The figures of a comparison are those that two whole models give, computed at length."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from layerwise.conftest import Changed
from moyai.errors import FailedError, InputFileError
from moyai.layerwise.layer import Routing
from moyai.layerwise.lockstep import Comparison, compare_layerwise, ulp_distance
from moyai.layerwise.model import LayerwiseModel
from moyai.layerwise.router_figures import RouterCount
from moyai.progress import SilentProgress
from tiny import write_tiny_checkpoint

WINDOWS = torch.randint(3, 320, (1, 70), generator=torch.Generator().manual_seed(3)).split(32, dim=1)


class Counted:
    def __init__(self) -> None:
        self.amount = 0.0

    def advance(self, amount: float, **figures: float) -> None:
        self.amount += amount


def compare(first: Path, second: Path) -> Comparison:
    with SilentProgress().bar("x", total=70, unit="tokens") as bar:
        return compare_layerwise(LayerwiseModel(first), LayerwiseModel(second), WINDOWS, bar)


def outputs(directory: Path, **more: Any) -> list[Any]:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        return [model(input_ids=ids_1L, output_hidden_states=True, labels=ids_1L, **more) for ids_1L in WINDOWS]


@pytest.fixture(scope="module")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("other"), "llama", tied=False, seed=1)


def spoil(directory: Path, name: str, value: float) -> Path:
    weights = load_file(directory / "model.safetensors")
    weights[name].view(-1)[5] = value
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def test_logits_and_losses(
    checkpoints: dict[str, Path], other_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # slices that end within a window and within the vocabulary
    monkeypatch.setattr("moyai.layerwise.logits._LOGITS", 2000)
    monkeypatch.setattr("moyai.layerwise.model._HEAD_VALUES", 32 * 100)
    found = compare(checkpoints["llama"], other_llama)
    ours, theirs = outputs(checkpoints["llama"]), outputs(other_llama)
    differences = torch.cat([(one.logits - other.logits).abs()[0] for one, other in zip(ours, theirs, strict=True)])
    assert found.num_tokens == 70
    assert found.logits.max_abs == pytest.approx(max(one.logits.abs().max().item() for one in ours), rel=1e-6)
    assert found.logits.max_abs_difference == pytest.approx(differences.max().item(), rel=1e-5)
    assert found.logits.mean_abs_difference == pytest.approx(differences.double().mean().item(), rel=1e-6)
    for loss, whole in zip(found.logits.losses, (ours, theirs), strict=True):
        # transformers gives the mean of each window's length - 1 targets
        weights = [ids_1L.shape[1] - 1 for ids_1L in WINDOWS]
        assert loss == pytest.approx(np.average([one.loss.item() for one in whole], weights=weights), rel=1e-5)
    assert found.logits.losses[0] != pytest.approx(found.logits.losses[1], rel=1e-3)


def test_hidden_states(checkpoints: dict[str, Path], other_llama: Path) -> None:
    found = compare(checkpoints["llama"], other_llama)
    pairs = list(zip(outputs(checkpoints["llama"]), outputs(other_llama), strict=True))
    expected = max((one.hidden_states[1] - other.hidden_states[1]).abs().max().item() for one, other in pairs)
    assert found.layers[0].max_abs_hidden_difference == expected


@torch.no_grad()
def test_the_local_difference_is_of_one_input(checkpoints: dict[str, Path], other_llama: Path) -> None:
    directories = checkpoints["llama"], other_llama
    first, second = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval() for path in directories)
    seen: list[torch.Tensor] = []
    hook = first.model.layers[1].mlp.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for ids_1L in WINDOWS:
        first(input_ids=ids_1L)
    hook.remove()
    largest = 0.0
    for input_BLH in seen:
        ours, theirs = first.model.layers[1].mlp(input_BLH)[0].numpy(), second.model.layers[1].mlp(input_BLH)[0].numpy()
        for one, other in zip(ours, theirs, strict=True):
            unit = 2.0 ** (math.floor(math.log2(np.abs(one).max())) - 23)
            largest = max(largest, float(np.abs(one - other).max()) / unit)
    assert compare(checkpoints["llama"], other_llama).layers[1].max_local_ulp == pytest.approx(largest, rel=1e-6)


def test_a_model_and_itself(checkpoints: dict[str, Path]) -> None:
    found = compare(checkpoints["mixtral"], checkpoints["mixtral"])
    assert [(layer.max_abs_hidden_difference, layer.max_local_ulp) for layer in found.layers] == [(0, 0)] * 2
    assert found.logits.max_abs_difference == found.logits.mean_abs_difference == 0
    assert found.logits.losses[0] == found.logits.losses[1]
    assert found.layers[0].routers[0] == found.layers[0].routers[1]


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])
def test_router_figures(family: str, checkpoints: dict[str, Path]) -> None:
    dense = checkpoints["llama" if family == "mixtral" else "qwen2"]
    found = compare(dense, checkpoints[family])
    logits = [one.router_logits for one in outputs(checkpoints[family], output_router_logits=True)]
    for number, layer in enumerate(found.layers):
        logits_TE = torch.cat([window[number] for window in logits]).double()
        probs_TE = logits_TE.softmax(-1)
        mean_E = probs_TE.mean(0)
        chosen = torch.bincount(logits_TE.topk(2, -1).indices.flatten(), minlength=4)
        none, figures = layer.routers
        assert none is None
        assert figures is not None
        assert figures.load == pytest.approx((chosen / 140).tolist(), abs=1e-6)
        assert sum(figures.load) == pytest.approx(1)
        assert figures.entropy_of_mean == pytest.approx(-(mean_E * mean_E.log()).sum().item(), abs=1e-6)
        assert figures.mean_entropy == pytest.approx(-(probs_TE * probs_TE.log()).sum(-1).mean().item(), abs=1e-6)


def test_unused_experts() -> None:
    counted = RouterCount(4)
    counted.add(Routing(torch.zeros(3, 4), torch.tensor([[0, 3], [3, 0], [0, 3]])))
    assert counted.unused == (1, 2)
    figures = counted.figures()
    assert figures.load == (0.5, 0, 0, 0.5)
    assert figures.mean_entropy == figures.entropy_of_mean == pytest.approx(math.log(4))
    counted.add(Routing(torch.zeros(1, 4), torch.tensor([[1, 0]])))
    assert counted.unused == (2,)


def test_a_certain_router_has_no_entropy() -> None:
    counted = RouterCount(2)
    counted.add(Routing(torch.tensor([[1e4, 0.0], [0.0, 1e4]]), torch.tensor([[0], [1]])))
    figures = counted.figures()
    assert (figures.mean_entropy, figures.load) == (0, (0.5, 0.5))
    assert figures.entropy_of_mean == pytest.approx(math.log(2))


def test_the_bar_gets_every_token_once(checkpoints: dict[str, Path]) -> None:
    bar, model = Counted(), LayerwiseModel(checkpoints["llama"])
    compare_layerwise(model, model, WINDOWS, bar)
    assert bar.amount == pytest.approx(70)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 3e30])
def test_units_in_the_last_place(scale: float) -> None:
    ours = torch.tensor([[1.5, 0.0], [0.0, 0.0]]) * scale
    theirs = ours.clone()
    theirs[0, 1] = 3 * float(np.spacing(np.float32(1.5 * scale)))
    assert ulp_distance(ours, ours) == 0
    assert ulp_distance(ours, theirs) == pytest.approx(3)
    theirs[1, 1] = scale
    assert 1e7 < ulp_distance(ours, theirs) < math.inf, "any number is far from nothing at all"


def test_models_of_another_outline(checkpoints: dict[str, Path], changed: Changed, tmp_path: Path) -> None:
    from tiny import tiny_model

    tiny_model("llama", vocab_size=328).save_pretrained(tmp_path / "larger")
    with pytest.raises(InputFileError, match=r"vocab_size 320 and .* 328"):
        compare(checkpoints["llama"], tmp_path / "larger")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.layers.1.mlp.down_proj.weight", "changed-llama computes values that are not finite numbers in layer 1"),
        ("lm_head.weight", "gives logits that are not numbers"),
    ],
)
@pytest.mark.parametrize("spoilt_first", [True, False])
def test_numbers_that_are_none(
    name: str, message: str, spoilt_first: bool, checkpoints: dict[str, Path], changed: Changed
) -> None:
    pair = [spoil(changed("llama"), name, math.nan), checkpoints["llama"]]
    with pytest.raises(FailedError, match=message):
        compare(*(pair if spoilt_first else reversed(pair)))
