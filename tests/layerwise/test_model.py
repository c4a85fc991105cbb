"""Layer by layer gives the numbers that transformers' whole model gives."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from layerwise.conftest import Changed
from moyai.errors import InputFileError
from moyai.layerwise.layer import LayerOutput
from moyai.layerwise.model import LayerwiseModel
from tiny import FAMILIES, tiny_model, write_tiny_checkpoint

DENSE = [family for family in FAMILIES if not family.endswith(("moe", "mixtral"))]
MIXTURES = [family for family in FAMILIES if family not in DENSE]


def whole(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()


def some_ids(num_rows: int = 2, num_tokens: int = 50) -> torch.Tensor:
    return torch.randint(3, 320, (num_rows, num_tokens), generator=torch.Generator().manual_seed(7))


def run(
    model: LayerwiseModel, ids_BL: torch.Tensor, padding_BL: torch.Tensor | None = None
) -> tuple[list[LayerOutput], torch.Tensor]:
    hidden_BLH, outputs = model.embed(ids_BL), []
    for layer in model.layers():
        outputs.append(layer(hidden_BLH, padding_BL))
        hidden_BLH = outputs[-1].hidden_BLH
    normed_BLH = model.final_norm(hidden_BLH)
    return outputs, torch.cat([normed_BLH @ head_CH.T for _, head_CH in model.head_slices()], dim=-1)


@torch.no_grad()
def assert_same(directory: Path, ids_BL: torch.Tensor, padding_BL: torch.Tensor | None = None) -> None:
    mask = {} if padding_BL is None else {"attention_mask": (~padding_BL).long()}
    expected = whole(directory)(input_ids=ids_BL, output_hidden_states=True, **mask)
    outputs, logits_BLV = run(LayerwiseModel(directory), ids_BL, padding_BL)
    assert expected.logits.abs().max() > 1, "the logits that agree are not all zero"
    # the last of transformers' hidden states is behind the final norm
    for output, hidden_BLH in zip(outputs[:-1], expected.hidden_states[1:-1], strict=True):
        assert torch.equal(output.hidden_BLH, hidden_BLH)
    torch.testing.assert_close(logits_BLV, expected.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_whole_model(family: str, checkpoints: dict[str, Path]) -> None:
    assert_same(checkpoints[family], some_ids())


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_a_tied_head_is_the_embedding(family: str, tmp_path: Path) -> None:
    directory = write_tiny_checkpoint(tmp_path, family, tied=True)
    assert "lm_head.weight" not in LayerwiseModel(directory).reader.tensors
    assert_same(directory, some_ids())


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("mistral", {"sliding_window": 4}),
        ("mixtral", {"sliding_window": 4}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["full_attention", "sliding_attention"]}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}),
    ],
)
def test_a_sliding_window_is_kept(family: str, values: dict[str, Any], changed: Changed) -> None:
    directory = changed(family, **values)
    assert_same(directory, some_ids())
    assert LayerwiseModel(directory).attention_window == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_that_is_not_used_is_none(family: str, checkpoints: dict[str, Path]) -> None:
    assert LayerwiseModel(checkpoints[family]).attention_window is None


def test_scaled_rope_is_kept(changed: Changed) -> None:
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}
    assert_same(changed("llama", rope_parameters=rope), some_ids())


@pytest.mark.parametrize("family", ["mistral", "qwen2_moe"])
def test_padding_on_the_left_is_as_in_transformers(family: str, checkpoints: dict[str, Path]) -> None:
    padding_BL = torch.zeros(2, 50, dtype=torch.bool)
    padding_BL[0, :20] = True
    assert_same(checkpoints[family], some_ids(), padding_BL)


def test_bfloat16_is_that_of_transformers(checkpoints: dict[str, Path]) -> None:
    with torch.no_grad():
        expected = whole(checkpoints["qwen3"], torch.bfloat16)(input_ids=some_ids(), output_hidden_states=True)
    outputs, _ = run(LayerwiseModel(checkpoints["qwen3"], dtype=torch.bfloat16), some_ids())
    assert torch.equal(outputs[0].hidden_BLH, expected.hidden_states[1])


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_stored_in_16_bits_and_in_shards(stored: torch.dtype, tmp_path: Path) -> None:
    tiny_model("mixtral").to(stored).save_pretrained(tmp_path, max_shard_size=40_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_same(tmp_path, some_ids())


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_the_feed_forward_part_sees(family: str, checkpoints: dict[str, Path]) -> None:
    model, ids_BL = whole(checkpoints[family]), some_ids()
    seen: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.post_attention_layernorm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    routers = {"output_router_logits": True} if family in MIXTURES else {}
    expected = model(input_ids=ids_BL, **routers)
    outputs, _ = run(LayerwiseModel(checkpoints[family]), ids_BL)
    for number, (output, normed_BLH) in enumerate(zip(outputs, seen, strict=True)):
        assert torch.equal(output.feed_forward.input_BLH, normed_BLH)
        assert torch.equal(output.feed_forward.output_BLH, model.model.layers[number].mlp(normed_BLH))
        routing = output.feed_forward.routing
        if family in DENSE:
            assert routing is None
        else:
            assert routing is not None
            assert torch.equal(routing.logits_TE, expected.router_logits[number])
            assert torch.equal(routing.chosen_TK, routing.logits_TE.topk(2).indices)


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_the_feed_forward_part_alone(family: str, checkpoints: dict[str, Path]) -> None:
    model = LayerwiseModel(checkpoints[family])
    hidden_BLH = model.embed(some_ids())
    for layer in model.layers():
        inside = layer(hidden_BLH).feed_forward
        alone = layer.feed_forward(inside.input_BLH)
        assert torch.equal(alone.output_BLH, inside.output_BLH)
        assert (alone.routing is None) == (family == "llama")


def test_windows_of_several_lengths_in_turn(checkpoints: dict[str, Path]) -> None:
    model = LayerwiseModel(checkpoints["llama"])
    windows = [some_ids(1, num_tokens) for num_tokens in (9, 50, 9)]
    hidden = [model.embed(ids_BL) for ids_BL in windows]
    for layer in model.layers():
        hidden = [layer(hidden_BLH).hidden_BLH for hidden_BLH in hidden]
    for ids_BL, hidden_BLH in zip(windows, hidden, strict=True):
        outputs, _ = run(LayerwiseModel(checkpoints["llama"]), ids_BL)
        assert torch.equal(outputs[-1].hidden_BLH, hidden_BLH)


def test_only_one_layer_has_weights(checkpoints: dict[str, Path]) -> None:
    model = LayerwiseModel(checkpoints["llama"])
    layers = []
    weights: list[weakref.ref[torch.Tensor]] = []
    for layer in model.layers():
        assert all(weight() is None for weight in weights)
        layers.append(layer)
        weights += [weakref.ref(parameter) for parameter in layer._loaded.parameters()]
    assert len(weights) == 2 * 9
    with pytest.raises(AssertionError, match="layer 0 is used after"):
        layers[0](model.embed(some_ids()))


def test_head_slices_are_the_head_in_order(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moyai.layerwise.model._HEAD_VALUES", 32 * 7)
    model = LayerwiseModel(checkpoints["llama"])
    slices = list(model.head_slices())
    assert [first_id for first_id, _ in slices] == list(range(0, 320, 7))
    assert torch.equal(torch.cat([rows_CH for _, rows_CH in slices]), whole(checkpoints["llama"]).lm_head.weight)


def test_a_token_without_an_embedding_row(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputFileError, match="has 320 embedding rows, but a text has token id 320"):
        LayerwiseModel(checkpoints["llama"]).embed(torch.tensor([[5, 320]]))


def test_a_checkpoint_that_is_not_whole(changed: Changed) -> None:
    with pytest.raises(InputFileError, match="9 are missing"):
        LayerwiseModel(changed("llama", num_hidden_layers=3))


_PEAK = """
import resource, sys, torch
from pathlib import Path
from moyai.layerwise.model import LayerwiseModel
model = LayerwiseModel(Path(sys.argv[1]))
hidden = model.embed(torch.arange(32)[None])
for layer in model.layers():
    hidden = layer(hidden).hidden_BLH
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_memory_grows_with_a_layer_and_not_with_their_number(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    def peak_bytes(num_layers: int) -> int:
        sizes = {"vocab_size": 64, "hidden_size": 512, "intermediate_size": 4096, "num_attention_heads": 4}
        directory = tmp_path / str(num_layers)
        LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=num_layers)).save_pretrained(directory)
        words = [sys.executable, "-c", _PEAK, str(directory)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    layer_bytes = 4 * (3 * 512 * 4096 + 4 * 512 * 512)
    assert peak_bytes(10) - peak_bytes(2) < 1.5 * layer_bytes, "eight more layers would be eight times as much"
