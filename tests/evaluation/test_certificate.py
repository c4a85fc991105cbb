"""Two models are certified as one function only if they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from moyai.checkpoint.layout import Matrix, expert_name, router_name
from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.upcycle import plan_upcycle
from moyai.errors import InputFileError
from moyai.evaluation.certificate import CUT_ULP_BOUND, WHOLE_ULP_BOUND, Certificate, certify
from moyai.progress import SilentProgress
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import UpcycleSettings
from moyai.tokenizer.text import TextTokenizer
from tiny import ENGLISH, JAPANESE, write_tiny_checkpoint

PARENTS = ["llama", "mistral", "qwen2", "qwen3"]
# A copy differs from its parent by what two sums of the same numbers are rounded apart.
COPY_ULP = 4

Change = Callable[[dict[str, torch.Tensor]], Any]


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("parents")
    return {family: write_tiny_checkpoint(root / family, family) for family in PARENTS}


def upcycled(dense_dir: Path, out_dir: Path, **changes: object) -> Path:
    settings = UpcycleSettings.model_validate({"experts": 4, "active": 2, **changes})
    mixture, planned = plan_upcycle(CheckpointReader(dense_dir), read_architecture(dense_dir), settings)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_model(
        out_dir,
        mixture,
        planned,
        like=read_config(dense_dir),
        tokenizer_dir=dense_dir,
        shard_bytes=10**9,
        progress=SilentProgress(),
    )
    return out_dir


@pytest.fixture(scope="module")
def copies(parents: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("copies")
    return {family: upcycled(path, root / family) for family, path in parents.items()}


def with_weights(source: Path, out_dir: Path, change: Change) -> Path:
    """A copy of a checkpoint whose weights `change` has changed."""
    out_dir.mkdir()
    for path in source.iterdir():
        (out_dir / path.name).write_bytes(path.read_bytes())
    weights = load_file(out_dir / "model.safetensors")
    change(weights)
    save_file(weights, out_dir / "model.safetensors", metadata={"format": "pt"})
    return out_dir


def added(name: str, amount: float) -> Change:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[name].view(-1)[5] += amount

    return change


def compare(against: Path, model: Path, num_tokens: int = 300, tolerance: float = 1e-3) -> Certificate:
    ids = (TextTokenizer(against).encode(ENGLISH + JAPANESE) * 20)[:num_tokens]
    with SilentProgress().bar("x", total=num_tokens, unit="tokens") as bar:
        return certify(against, model, ids, tolerance=tolerance, bar=bar)


@pytest.mark.parametrize("family", PARENTS)
def test_a_copy_upcycled_model_is_the_same_function(family: str, parents: dict[str, Path], copies: dict[str, Path]) -> None:
    certificate = compare(parents[family], copies[family])
    assert (certificate.verdict, certificate.reasons, certificate.method) == ("PASS", [], "copy")
    assert certificate.max_local_ulp <= COPY_ULP < WHOLE_ULP_BOUND
    logits = certificate.comparison.logits
    assert logits.max_abs_difference < 1e-4
    assert logits.max_abs > 1, "the logits that agree are not all zero"
    assert logits.losses[0] == pytest.approx(logits.losses[1], abs=1e-5)
    assert certificate.shared.different == ()
    feed_forward = 2 * 3
    assert len(certificate.shared.identical) == len(CheckpointReader(parents[family]).tensors) - feed_forward + 1  # the head
    assert certificate.holds_up_to_tokens is None


@pytest.mark.parametrize("matrix", ["gate", "down"])
@pytest.mark.parametrize("family", PARENTS)
def test_one_weight_of_one_expert_that_is_off_shows(
    family: str, matrix: Matrix, parents: dict[str, Path], copies: dict[str, Path], tmp_path: Path
) -> None:
    mixture = read_architecture(copies[family]).family
    load = compare(parents[family], copies[family]).to_dict()["layers"][1]["router"]["load"]
    expert = load.index(max(load))
    spoilt = with_weights(copies[family], tmp_path / "x", added(expert_name(mixture, 1, expert, matrix), 1e-3))
    certificate = compare(parents[family], spoilt)
    assert certificate.verdict == "FAIL"
    assert "feed-forward parts differ on the same input: 1, by up to" in certificate.reasons[0]
    first, second = (layer.max_local_ulp for layer in certificate.comparison.layers)
    assert first <= COPY_ULP
    assert second > 3 * CUT_ULP_BOUND


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "drop"},
        {"method": "noise"},
        {"method": "virtual-group", "granularity": 2, "scaling": "published"},
    ],
    ids=lambda changes: changes["method"],
)
def test_another_function_is_named_so(changes: dict[str, Any], parents: dict[str, Path], tmp_path: Path) -> None:
    certificate = compare(parents["llama"], upcycled(parents["llama"], tmp_path, **changes))
    told = certificate.to_dict()
    assert certificate.verdict == "NOT THE SAME FUNCTION"
    assert told["same_function"] is False
    assert certificate.comparison.logits.max_abs_difference > 1e-2
    assert told["loss_difference"] == told["loss"] - told["loss_against"] != 0
    assert certificate.shared.different == (), "only the experts are other ones"


@pytest.mark.parametrize("family", PARENTS)
def test_a_layer_cut_into_experts_is_the_same_function(family: str, parents: dict[str, Path], tmp_path: Path) -> None:
    settings = {"experts": 8, "active": 4, "method": "virtual-group", "granularity": 4}
    certificate = compare(parents[family], upcycled(parents[family], tmp_path, **settings))
    assert (certificate.verdict, certificate.method) == ("PASS", "virtual-group")


def test_a_shared_tensor_that_is_off_by_one_bit_shows(
    parents: dict[str, Path], copies: dict[str, Path], tmp_path: Path
) -> None:
    def one_bit(weights: dict[str, torch.Tensor]) -> None:
        norm = weights["model.layers.0.input_layernorm.weight"]
        norm[7] = torch.nextafter(norm[7], torch.tensor(9.0))

    certificate = compare(parents["llama"], with_weights(copies["llama"], tmp_path / "x", one_bit))
    assert certificate.shared.different == ("model.layers.0.input_layernorm.weight",)
    assert certificate.reasons == ["tensors that should be equal and are not: model.layers.0.input_layernorm.weight"]
    assert certificate.verdict == "FAIL"


def test_the_logits_alone_can_fail(parents: dict[str, Path], copies: dict[str, Path]) -> None:
    certificate = compare(parents["llama"], copies["llama"], tolerance=1e-9)
    (reason,) = certificate.reasons
    assert re.fullmatch(r"logits differ by up to \S+, more than 1e-09", reason)


def test_the_difference_is_the_largest_of_all_windows(parents: dict[str, Path], tmp_path: Path) -> None:
    """A token that stands only behind the first window of 256 is looked at too."""
    rare = 300

    def erase(weights: dict[str, torch.Tensor]) -> None:
        weights["model.embed_tokens.weight"][rare] = 0

    spoilt = with_weights(parents["llama"], tmp_path / "x", erase)
    ids = [5, 6, 7] * 100
    with SilentProgress().bar("x", total=1, unit="tokens") as bar:
        # the embedding is the head as well, but no hidden state before the rare token changes
        before = certify(parents["llama"], spoilt, ids, tolerance=1e-3, bar=bar)
        same = certify(parents["llama"], parents["llama"], [*ids, rare, 5], tolerance=1e-3, bar=bar)
        other = certify(parents["llama"], spoilt, [*ids, rare, 5], tolerance=1e-3, bar=bar)
    assert before.comparison.layers[1].max_abs_hidden_difference == 0
    assert same.comparison.logits.max_abs_difference == 0
    assert other.comparison.layers[1].max_abs_hidden_difference > 1e-3


def never_chosen(weights: dict[str, torch.Tensor]) -> None:
    """Routers that say the same of all experts, so that the first two are always taken."""
    for layer in range(2):
        weights[router_name("mixtral", layer)].zero_()


def test_an_expert_that_no_token_chose_must_be_a_copy(
    parents: dict[str, Path], copies: dict[str, Path], tmp_path: Path
) -> None:
    unused = with_weights(copies["llama"], tmp_path / "unused", never_chosen)
    certificate = compare(parents["llama"], unused)
    loads = [layer["router"]["load"] for layer in certificate.to_dict()["layers"]]
    assert sorted(loads[0]) == [0, 0, 0.5, 0.5]
    assert certificate.verdict == "PASS"
    idle = loads[1].index(0)
    spoilt = with_weights(unused, tmp_path / "spoilt", added(expert_name("mixtral", 1, idle, "up"), 1e-3))
    certificate = compare(parents["llama"], spoilt)
    assert certificate.max_local_ulp <= COPY_ULP, "the numbers cannot show it"
    assert certificate.unproven_experts == (f"{idle} of layer 1",)
    assert certificate.verdict == "FAIL"
    assert "experts that no token chose" in certificate.reasons[0]


def test_an_idle_expert_beside_a_shared_one_is_half_its_parent(
    parents: dict[str, Path], copies: dict[str, Path], tmp_path: Path
) -> None:
    def same_logits(weights: dict[str, torch.Tensor]) -> None:
        for layer in range(2):
            weights[router_name("qwen2_moe", layer)].zero_()

    assert compare(parents["qwen2"], with_weights(copies["qwen2"], tmp_path / "x", same_logits)).verdict == "PASS"


def test_the_mixture_may_stand_first(parents: dict[str, Path], copies: dict[str, Path]) -> None:
    told = compare(copies["llama"], parents["llama"]).to_dict()
    assert told["verdict"] == "PASS"
    assert told["router"] is None
    assert 0 < told["router_against"]["min_load"] < 0.25 < told["router_against"]["max_load"]


def test_two_dense_models(parents: dict[str, Path], tmp_path: Path) -> None:
    assert compare(parents["qwen3"], parents["qwen3"]).verdict == "PASS"
    name = "model.layers.0.mlp.down_proj.weight"
    certificate = compare(parents["qwen3"], with_weights(parents["qwen3"], tmp_path / "x", added(name, 1.0)))
    assert certificate.verdict == "NOT THE SAME FUNCTION", "it claims nothing"
    assert certificate.shared.different == (name,)
    told = certificate.to_dict()
    assert told["router"] is told["router_against"] is told["method"] is None
    assert "router" not in told["layers"][0]


def test_two_mixtures(copies: dict[str, Path], parents: dict[str, Path], tmp_path: Path) -> None:
    told = compare(copies["llama"], copies["llama"]).to_dict()
    assert (told["verdict"], told["router"]) == ("PASS", told["router_against"])
    noisy = upcycled(parents["llama"], tmp_path, method="noise")
    told = compare(copies["llama"], noisy).to_dict()
    assert told["verdict"] == "NOT THE SAME FUNCTION"
    assert told["num_different_tensors"] == 2 * 4 * 3, "the routers are equal"


def test_how_far_it_holds_where_attention_is_limited(parents: dict[str, Path], tmp_path: Path) -> None:
    dense = with_weights(parents["mistral"], tmp_path / "dense", lambda weights: None)
    config = read_config(dense)
    (dense / "config.json").write_text(json.dumps(config | {"sliding_window": 400}))
    certificate = compare(dense, upcycled(dense, tmp_path / "moe"))
    assert (certificate.verdict, certificate.holds_up_to_tokens) == ("PASS", 400)


def test_another_outline_cannot_be_compared(parents: dict[str, Path], tmp_path: Path) -> None:
    larger = tmp_path / "larger"
    write_tiny_checkpoint(larger, "llama")
    config = read_config(larger)
    weights = load_file(larger / "model.safetensors")
    weights["model.embed_tokens.weight"] = torch.cat([weights["model.embed_tokens.weight"], torch.zeros(8, 32)])
    save_file(weights, larger / "model.safetensors")
    (larger / "config.json").write_text(json.dumps(config | {"vocab_size": 328}))
    with pytest.raises(InputFileError, match=r"vocab_size 320 and .*larger 328"):
        compare(parents["llama"], larger)


def test_the_json_holds_every_figure(parents: dict[str, Path], copies: dict[str, Path]) -> None:
    certificate = compare(parents["llama"], copies["llama"])
    told = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    assert told["num_tokens"] == 300
    assert (told["dtype"], told["window_tokens"], told["local_ulp_bound"]) == ("float32", 256, WHOLE_ULP_BOUND)
    assert told["max_local_ulp"] == max(layer["max_local_ulp"] for layer in told["layers"])
    assert told["max_abs_hidden_difference"] == max(layer["max_abs_hidden_difference"] for layer in told["layers"])
    assert [layer["layer"] for layer in told["layers"]] == [0, 1]
    for layer in told["layers"]:
        assert sum(layer["router"]["load"]) == pytest.approx(1, abs=1e-5)
        assert told["router"]["min_load"] <= min(layer["router"]["load"])
        assert 0 < layer["router"]["mean_entropy"] <= layer["router"]["entropy_of_mean"] < 1.3864
