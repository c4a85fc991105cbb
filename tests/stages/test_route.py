"""The whole route, end to end, on a tiny model: every stage does what it says, and the records say what was done."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from moyai.errors import InputFileError, UserError
from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.write import checkpoint_to_gguf
from moyai.plan.plan import plan_recipe
from moyai.progress import SilentProgress
from moyai.recipe.load import load_recipe
from moyai.recipe.record import Record, read_record
from moyai.run.runner import run_recipe
from moyai.tokenizer.text import TextTokenizer
from stages.tiny_route import CHECKPOINTS, NAMES, NUM_PIECES, stage_dirs, write_tiny_route

RUN = "run"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in `root/run`."""
    directory = tmp_path_factory.mktemp("route")
    run(write_tiny_route(directory), directory / RUN)
    return directory


@pytest.fixture(scope="module")
def dirs(root: Path) -> dict[str, Path]:
    return stage_dirs(root / RUN)


@pytest.fixture(scope="module")
def records(dirs: dict[str, Path]) -> dict[str, Record]:
    return {name: read_record(directory) for name, directory in dirs.items()}


def run(recipe: Path, out_dir: Path, *overrides: str) -> None:
    run_recipe(
        load_recipe(str(recipe), overrides=overrides),
        out_dir=out_dir,
        until=None,
        cache_dir=out_dir.parent / "cache",
        progress=SilentProgress(),
    )


def num_parameters(checkpoint_dir: Path) -> int:
    total = 0
    for path in checkpoint_dir.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            total += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def test_every_stage_is_finished_and_nothing_else_lies_about(root: Path, dirs: dict[str, Path]) -> None:
    assert list(dirs) == NAMES
    others = {path.name for path in (root / RUN).iterdir()} - {directory.name for directory in dirs.values()}
    assert others == {"recipe.yaml", ".moyai-lock"}
    for directory in dirs.values():
        left = [path.name for path in directory.iterdir() if path.name.startswith(".") or "partial" in path.name]
        assert left == []
        assert not (directory / "resume").exists()


def test_parameters_are_what_the_plan_says(root: Path, dirs: dict[str, Path], records: dict[str, Record]) -> None:
    planned = {stage.name: stage for stage in plan_recipe(load_recipe(str(root / "tiny.yaml"))).stages}
    for name in CHECKPOINTS:
        assert num_parameters(dirs[name]) == planned[name].total_parameters, name
    for name in ("init", "extend", "upcycle"):
        assert records[name].results["num_parameters"] == planned[name].total_parameters
    assert records["upcycle"].results["num_active_parameters"] == planned["upcycle"].active_parameters


def test_transformers_loads_every_checkpoint(dirs: dict[str, Path]) -> None:
    for name in CHECKPOINTS:
        model, loading = AutoModelForCausalLM.from_pretrained(dirs[name], output_loading_info=True)
        assert not loading["missing_keys"]
        assert not loading["unexpected_keys"]
        ids = AutoTokenizer.from_pretrained(dirs[name])("舟を岸に", return_tensors="pt")["input_ids"]
        assert torch.isfinite(model(input_ids=ids).logits).all()


def test_extension(dirs: dict[str, Path], records: dict[str, Record]) -> None:
    results = records["extend"].results
    assert results["num_pieces"] == NUM_PIECES
    assert results["vocab_size"] == TextTokenizer(dirs["extend"]).num_ids
    base_ids = TextTokenizer(dirs["init"]).num_ids
    rows = [json.loads(line) for line in (dirs["extend"] / "pieces.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == list(range(base_ids, base_ids + NUM_PIECES))
    before, after = (embedding(dirs[name]) for name in ("init", "extend"))
    assert torch.equal(after[:base_ids], before[:base_ids])
    for row in rows:
        torch.testing.assert_close(after[row["id"]], before[row["from"]].mean(0))
    tokens = {name: counted["tokens"] for name, counted in results["efficiency"]["texts"].items()}
    assert tokens["ja"]["after"] < tokens["ja"]["before"]
    assert tokens["en_text"]["after"] <= tokens["en_text"]["before"]


def embedding(checkpoint_dir: Path) -> torch.Tensor:
    with safe_open(next(iter(checkpoint_dir.glob("*.safetensors"))), "pt") as file:
        return file.get_tensor("model.embed_tokens.weight")


@pytest.mark.parametrize("name", ["warm-up", "pretrain", "sft"])
def test_training(dirs: dict[str, Path], records: dict[str, Record], name: str) -> None:
    results = records[name].results
    log = [json.loads(line) for line in (dirs[name] / "training_log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in log] == list(range(1, results["num_steps"] + 1))
    assert sum(line["tokens"] for line in log) == results["num_tokens"]
    assert results["last_loss"] == log[-1]["loss"] < results["first_loss"]
    assert sum(source["tokens"] for source in results["sources"].values()) == results["num_tokens"]
    assert all(source["epochs"] > 0 for source in results["sources"].values())
    assert ("balance_loss" in log[0]) == (name != "warm-up")
    parent = dirs[records[name].identity.parents[0].name]
    assert not torch.equal(embedding(dirs[name]), embedding(parent))


def test_the_shares_of_the_sources_hold(records: dict[str, Record]) -> None:
    tokens = {Path(name).stem: source["tokens"] for name, source in records["pretrain"].results["sources"].items()}
    assert tokens["ja"] / sum(tokens.values()) == pytest.approx(0.7, abs=0.1)


def test_the_certificate_says_that_the_mixture_is_its_parent(dirs: dict[str, Path], records: dict[str, Record]) -> None:
    certificate = json.loads((dirs["verify"] / "certificate.json").read_bytes())
    assert len(certificate.pop("layers")) == 2
    assert certificate == records["verify"].results
    assert certificate["same_function"] is True
    assert certificate["max_abs_logit_difference"] <= 1e-4
    assert (certificate["model"], certificate["against"], certificate["num_tokens"]) == ("upcycle", "warm-up", 300)


def test_scores_of_every_checkpoint_on_the_same_documents(dirs: dict[str, Path], records: dict[str, Record]) -> None:
    scores = json.loads((dirs["evaluate"] / "scores.json").read_bytes())
    models = {model["name"]: model for model in scores["models"]}
    assert list(models) == records["evaluate"].results["models"] == CHECKPOINTS
    assert scores["documents"] == {"ja": ["0", "5", "10"], "en": ["0", "5", "10"]}
    for name, model in models.items():
        assert set(model["bits_per_byte"]) == {"ja", "en"}
        assert model["num_bytes"] == models["init"]["num_bytes"], "bytes do not change with the vocabulary"
        assert model["quiz"]["num_questions"] == 3
        assert (model["expert_load"] is not None) == (name in ("upcycle", "pretrain", "sft"))
    assert models["sft"]["characters_per_token"]["ja"] > models["init"]["characters_per_token"]["ja"]
    for language in ("ja", "en"):
        bits = {name: model["bits_per_byte"][language] for name, model in models.items()}
        assert bits["upcycle"] == pytest.approx(bits["warm-up"], abs=1e-4), "the same function has the same score"
        assert bits["warm-up"] < bits["extend"], "training helped"


@pytest.mark.parametrize(("name", "type_"), [("export", "f32"), ("small", "q8_0")])
def test_llama_cpp_runs_the_release(dirs: dict[str, Path], records: dict[str, Record], name: str, type_: str) -> None:
    results = records[name].results
    path = dirs[name] / f"model.{type_}.gguf"
    assert (results["file"], results["num_bytes"]) == (path.name, path.stat().st_size)
    assert results["llama_cpp"]["token_ids_agree"] is True
    model = LlamaCpp(path, num_context=256, num_threads=1)
    try:
        assert model.tokenize("舟はどこ？") == TextTokenizer(dirs["sft"]).encode("舟はどこ？")
    finally:
        model.close()


def test_the_smaller_release_is_smaller(records: dict[str, Record]) -> None:
    assert records["small"].results["num_bytes"] < 0.5 * records["export"].results["num_bytes"]


def test_a_second_run_does_nothing(root: Path, dirs: dict[str, Path]) -> None:
    times = {name: (directory / "record.json").stat().st_mtime_ns for name, directory in dirs.items()}
    run(root / "tiny.yaml", root / RUN)
    assert {name: (path / "record.json").stat().st_mtime_ns for name, path in dirs.items()} == times


def test_a_gguf_base_gives_the_same_weights(root: Path, dirs: dict[str, Path], tmp_path: Path) -> None:
    gguf = tmp_path / "base.gguf"
    checkpoint_to_gguf(root / "base", gguf, type="f32", progress=SilentProgress())
    recipe = load_recipe(str(root / "tiny.yaml"), overrides=[f"base={gguf}"])
    run_recipe(
        recipe, out_dir=tmp_path / "run", until="init", cache_dir=tmp_path / "cache", progress=SilentProgress()
    )
    made = tmp_path / "run" / "00-init"
    assert num_parameters(made) == num_parameters(dirs["init"])
    assert torch.equal(embedding(made), embedding(dirs["init"]))
    text = "The boat 舟<|im_end|>"
    assert TextTokenizer(made).encode(text) == TextTokenizer(dirs["init"]).encode(text)


FAULTS: list[tuple[str, str, type[UserError], str]] = [
    ("ja.jsonl", "stages.extend.corpus={file}", InputFileError, "line 2 is not UTF-8"),
    ("none", "stages.warm-up.corpus={file}", UserError, "has no training document"),
    ("none", "stages.evaluate.texts.ja={file}", UserError, "has no held-out document"),
    ("none", "stages.sft.data={file}", UserError, "no conversation fits a row"),
]


@pytest.mark.parametrize(("kind", "override", "error", "said"), FAULTS)
def test_a_corpus_that_does_not_do(
    root: Path, tmp_path: Path, kind: str, override: str, error: type[UserError], said: str
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b'{"text": "good", "split": "train"}\n\xff\n' if kind == "ja.jsonl" else b"")
    out_dir = tmp_path / RUN
    with pytest.raises(error, match=said) as caught:
        run(root / "tiny.yaml", out_dir, override.format(file=bad), "stages.warm-up.tokens=256")
    assert caught.value.exit_code == 2
    stage = override.split(".")[1]
    assert stage not in stage_dirs(out_dir)


def test_a_step_that_the_model_cannot_take(root: Path, tmp_path: Path) -> None:
    """More pieces than the corpus gives: one sentence, and nothing under the stage's name."""
    with pytest.raises(UserError, match="new pieces that occur"):
        run(root / "tiny.yaml", tmp_path / RUN, "stages.extend.pieces=100000")
    assert list(stage_dirs(tmp_path / RUN)) == ["init", "extend.partial"]


def test_records_name_their_parents_and_sources(records: dict[str, Record], root: Path) -> None:
    parents: dict[str, Any] = {name: [p.name for p in record.identity.parents] for name, record in records.items()}
    assert parents["init"] == []
    assert parents["verify"] == ["upcycle", "warm-up"]
    assert parents["evaluate"] == CHECKPOINTS
    assert parents["small"] == ["sft"]
    assert set(records["sft"].identity.outside) == {str(root / "chat.jsonl")}
    for record in records.values():
        for parent in record.identity.parents:
            assert parent.fingerprint == records[parent.name].fingerprint
