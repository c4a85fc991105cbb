"""compose as a stage: inside a recipe with its report, and through `run_single_stage`, as `moyai merge` runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from moyai.checkpoint import model_directory
from moyai.errors import FailedError, InputFileError
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.load import parse_recipe
from moyai.recipe.record import Record
from moyai.report import build_report, summary_table
from moyai.run.runner import run_recipe
from moyai.run.single_stage import run_single_stage
from tiny import write_tiny_checkpoint

ROUTER = "model.layers.{}.block_sparse_moe.gate.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for family in ("llama", "qwen2"):
        for seed, name in enumerate(("base", "first", "second")):
            write_tiny_checkpoint(root / family / name, family, seed=seed)
    return root


def experts(root: Path, *names: str, family: str = "llama", **more: Any) -> list[dict[str, Any]]:
    return [{"source_model": str(root / family / name), **more} for name in names]


def compose(
    root: Path, out_dir: Path, *, family: str = "llama", notes: list[str] | None = None, **settings: Any
) -> Record:
    class Progress(SilentProgress):
        def note(self, text: str) -> None:
            if notes is not None:
                notes.append(text)

    stage = {"gate_mode": "uniform_random", "experts": experts(root, "first", "second", family=family), **settings}
    data = {"moyai": 1, "name": "merge", "base": str(root / family / "base"), "stages": [{"compose": stage}]}
    recipe = parse_recipe(json.dumps(data), where="here")
    return run_single_stage(recipe, out_dir=out_dir, cache_dir=out_dir.parent / "cache", progress=Progress())


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(directory / "model.safetensors"))


def loaded(directory: Path) -> Any:
    model, info = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


def test_a_recipe_composes_what_its_own_stages_made_and_reports_it(models: Path, tmp_path: Path) -> None:
    vector = {"chat": str(models / "llama" / "first"), "base": str(models / "llama" / "base"), "ratio": 0.5}
    stages = [
        {"chat_vector": {"name": "talk", "chat_vectors": [vector]}},
        {
            "compose": {
                "from": "init",
                "gate_mode": "uniform_random",
                "experts": [{"source_model": "stage:talk"}, *experts(models, "second")],
            }
        },
    ]
    data = {"moyai": 1, "name": "both", "base": str(models / "llama" / "base"), "stages": stages}
    recipe = parse_recipe(json.dumps(data), where="here")
    run_dir = tmp_path / "run"
    done = run_recipe(recipe, out_dir=run_dir, until=None, cache_dir=tmp_path / "cache", progress=SilentProgress())
    build_report(run_dir)
    summary_table(run_dir)
    record = done[-1][1]
    assert [parent.name for parent in record.identity.parents] == ["init", "talk"]
    assert set(record.identity.outside) == {str(models / "llama" / "second")}
    assert record.results["expert_models"] == ["stage:talk", "second"]
    made, talk = weights(run_dir / "02-compose"), weights(run_dir / "01-talk")
    second, base = (weights(models / "llama" / name) for name in ("second", "base"))
    for expert, source in enumerate((talk, second)):
        for part, name in (("w1", "gate"), ("w3", "up"), ("w2", "down")):
            wanted = source[f"model.layers.1.mlp.{name}_proj.weight"]
            assert (made[f"model.layers.1.block_sparse_moe.experts.{expert}.{part}.weight"] == wanted).all()
    for name in ("model.embed_tokens.weight", "model.layers.0.self_attn.o_proj.weight", "model.norm.weight"):
        assert (made[name] == base[name]).all()
    loaded(run_dir / "02-compose")


@pytest.mark.parametrize(("mode", "std", "bound"), [("random", 1.0, 9.0), ("uniform_random", 96**-0.5, 32**-0.5)])
def test_drawn_routers_are_as_wide_as_the_file_says(
    models: Path, tmp_path: Path, mode: str, std: float, bound: float
) -> None:
    compose(models, tmp_path / "out", gate_mode=mode, experts=experts(models, *["first"] * 16))
    made = torch.stack([weights(tmp_path / "out")[ROUTER.format(layer)] for layer in range(2)])
    assert made.std() == pytest.approx(std, rel=0.1)
    assert made.abs().max() <= bound


@pytest.mark.parametrize("mode", ["hidden", "hidden_avg", "cheap_embed"])
@pytest.mark.parametrize("gates", ["exact", "mergekit"])
def test_prompts_become_routers_of_length_1(models: Path, tmp_path: Path, mode: str, gates: str) -> None:
    prompts = [{"positive_prompts": ["The boat"]}, {"positive_prompts": ["twice a day"], "negative_prompts": ["ropes"]}]
    chosen = [expert | said for expert, said in zip(experts(models, "first", "second"), prompts, strict=True)]
    compose(models, tmp_path / "out", gate_mode=mode, gates=gates, experts=chosen)
    for layer in range(2):
        router = weights(tmp_path / "out")[ROUTER.format(layer)]
        assert router.norm(dim=-1).tolist() == pytest.approx([1, 1], abs=5e-3)  # mergekit computes in bfloat16
        assert (router[0] != router[1]).any()
    origins = json.loads((tmp_path / "out" / "tensor_origins.json").read_text(encoding="utf-8"))
    assert origins[ROUTER.format(0)].startswith(f"from prompts, {mode}, {gates}, sha256 ")


def test_hidden_last_is_hidden(models: Path, tmp_path: Path) -> None:
    chosen = [
        {**expert, "positive_prompts": [said]}
        for expert, said in zip(experts(models, "first", "second"), ("The boat", "twice a day"), strict=True)
    ]
    for mode in ("hidden", "hidden_last"):
        compose(models, tmp_path / mode, gate_mode=mode, experts=chosen)
    assert (tmp_path / "hidden" / "model.safetensors").read_bytes() == (
        tmp_path / "hidden_last" / "model.safetensors"
    ).read_bytes()


def test_a_qwen_mixture_has_its_shared_expert(models: Path, tmp_path: Path) -> None:
    shared = experts(models, "base", family="qwen2", residual_scale=0.5)
    record = compose(models, tmp_path / "out", family="qwen2", shared_experts=shared)
    assert record.results["family"] == "qwen2_moe"
    made, base = weights(tmp_path / "out"), weights(models / "qwen2" / "base")
    name = "model.layers.1.mlp.{}down_proj.weight"
    assert (made[name.format("shared_expert.")] == base[name.format("")] * 0.5).all()
    assert loaded(tmp_path / "out").config.norm_topk_prob
    with pytest.raises(InputFileError, match=r"shared_experts has 0 entries; .*qwen2.* has exactly 1"):
        compose(models, tmp_path / "none", family="qwen2")
    with pytest.raises(InputFileError, match=r"shared_experts has 1 entries; .*llama.* has none"):
        compose(models, tmp_path / "none", shared_experts=experts(models, "base"))


def test_faults_are_told_before_prompts_are_run(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: Any, **_more: Any) -> None:
        raise AssertionError("prompts were run")

    monkeypatch.setattr("moyai.layerwise.gates.prompt_gates", never)
    chosen = [
        {**expert, "positive_prompts": [said]}
        for expert, said in zip(experts(models, "first", "second"), ("The boat", "twice a day"), strict=True)
    ]
    with pytest.raises(InputFileError, match="architecture is 'qwen'"):
        compose(models, tmp_path / "out", gate_mode="hidden", experts=chosen, architecture="qwen")
    with pytest.raises(InputFileError, match="shared_experts has 1 entries"):
        compose(models, tmp_path / "out", gate_mode="hidden", experts=chosen, shared_experts=chosen[:1])
    assert list(tmp_path.iterdir()) == []


def test_what_is_worth_a_note(models: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    same = experts(models, "first", "first", positive_prompts=["The boat"])
    record = compose(models, tmp_path / "out", gate_mode="random", experts=same, notes=notes)
    told = "; ".join(record.results["notes"])
    for said in ("logits have one of 6", "makes no use of the prompts", "all experts are of one model"):
        assert said in told
    assert set(record.results["notes"]) <= set(notes)
    assert compose(models, tmp_path / "plain").results["notes"] == []


def test_a_lost_sliding_window_is_told(tmp_path: Path) -> None:
    for seed, name in enumerate(("base", "first", "second")):
        directory = write_tiny_checkpoint(tmp_path / "mistral" / name, "mistral", seed=seed)
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(config | {"sliding_window": 64}))
    record = compose(tmp_path, tmp_path / "out", family="mistral")
    assert record.results["notes"] == ["the base's sliding window of 64 is not kept: Mixtral attends to everything"]
    assert loaded(tmp_path / "out").config.sliding_window is None


def test_a_resumed_merge_keeps_the_model_that_it_has_converted(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint_to_gguf(
        models / "llama" / "first", tmp_path / "first.gguf", type="f32", progress=SilentProgress(), name="first"
    )
    settings = {"experts": [{"source_model": str(tmp_path / "first.gguf")}, *experts(models, "second")]}
    compose(models, tmp_path / "wanted", **settings)

    def broken(*_arguments: Any, **_more: Any) -> None:
        raise FailedError("it broke")

    with monkeypatch.context() as patch:
        patch.setattr(model_directory, "write_config", broken)
        with pytest.raises(FailedError):
            compose(models, tmp_path / "out", **settings)
    converted = tmp_path / ".out.moyai" / "result" / "resume" / "model-0" / "model.safetensors"
    before = converted.stat().st_mtime_ns
    found = []
    write_checkpoint = model_directory.write_checkpoint

    def looking(*arguments: Any, **more: Any) -> Any:
        found.append(converted.stat().st_mtime_ns)
        return write_checkpoint(*arguments, **more)

    monkeypatch.setattr(model_directory, "write_checkpoint", looking)
    record = compose(models, tmp_path / "out", **settings)
    assert found == [before]
    assert record.resumed == 1
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "wanted" / "model.safetensors").read_bytes()
    assert (weights(tmp_path / "out")["model.layers.0.block_sparse_moe.experts.0.w1.weight"] == (
        weights(models / "llama" / "first")["model.layers.0.mlp.gate_proj.weight"]
    )).all()  # fmt: skip
    assert not list((tmp_path / "out").glob("resume*"))
