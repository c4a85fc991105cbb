"""A recipe that starts from nothing: a vocabulary, drawn weights, and every kind of stage after them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor

from moyai.checkpoint.reader import CheckpointReader
from moyai.errors import InputFileError, RecipeError, UserError
from moyai.plan.plan import plan_recipe
from moyai.progress import SilentProgress
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.load import load_recipe
from moyai.recipe.record import Record, read_record
from moyai.report import build_report
from moyai.run.runner import run_recipe
from moyai.tokenizer.text import TextTokenizer
from tiny import write_tiny_sentencepiece

NUM_ENGLISH, NUM_JAPANESE = 300, 600
VOCAB_SIZE = 280 + NUM_ENGLISH + NUM_JAPANESE + 4
RECIPE = f"""
moyai: 1
name: nothing
seed: 3
architecture:
  {{family: llama, vocab_size: {VOCAB_SIZE}, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,
   num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, tie_word_embeddings: false}}
sources: {{en: "starter:en_text", ja: "starter:ja_text"}}
stages:
  - train_tokenizer:
      max_characters: 8
      stages: [{{corpus: en, pieces: {NUM_ENGLISH}}}, {{corpus: [ja], pieces: {NUM_JAPANESE}}}]
  - pretrain:
      {{corpus: {{ja: 0.7, en: 0.3}}, tokens: 6144, batch_tokens: 256, row_tokens: 128, precision: float32,
       learning_rate: 3e-3}}
  - upcycle: {{experts: 2, active: 1}}
  - evaluate: {{texts: {{ja: ja, en: en}}, max_characters: 120, limit: 3}}
  - export: {{from: pretrain, type: f32}}
"""


def write_recipe(root: Path, text: str = RECIPE) -> Path:
    (root / "recipe.yaml").write_text(text, encoding="utf-8")
    return root / "recipe.yaml"


def run(recipe: Path, out_dir: Path, *overrides: str, until: str | None = None) -> list[tuple[Path, Record]]:
    loaded = load_recipe(str(recipe), overrides=list(overrides))
    return run_recipe(
        loaded, out_dir=out_dir, until=until, cache_dir=out_dir.parent / "cache", progress=SilentProgress()
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nothing")
    run(write_recipe(root), root / "run")
    return root / "run"


def artifact(run_dir: Path, name: str) -> Path:
    (found,) = run_dir.glob(f"[0-9][0-9]-{name}")
    return found


def test_the_tokenizer_and_its_record(finished: Path) -> None:
    directory = artifact(finished, "train_tokenizer")
    results = read_record(directory).results
    assert results["vocab_size"] == TextTokenizer(directory).num_ids == VOCAB_SIZE - 4
    assert len(SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))) == VOCAB_SIZE - 4
    english, japanese = results["stages"]
    assert (english["num_pieces"], japanese["num_pieces"]) == (NUM_ENGLISH, NUM_JAPANESE)
    assert japanese["corpus"] == ["starter:ja_text"]
    assert japanese["num_sampled_characters"] == japanese["num_characters"] == 119_900
    texts = results["efficiency"]["texts"]
    assert list(texts) == ["en_text", "ja_text"]
    for counts in texts.values():
        assert set(counts["tokens"]) == {"after"}
        assert counts["bytes"] >= counts["characters"] > counts["tokens"]["after"] * 0.8
    assert read_record(directory).identity.outside.keys() == {"starter:en_text", "starter:ja_text"}


def test_the_drawn_model(finished: Path) -> None:
    directory, tokenizer_dir = artifact(finished, "init"), artifact(finished, "train_tokenizer")
    record = read_record(directory)
    assert [parent.name for parent in record.identity.parents] == ["train_tokenizer"]
    assert record.identity.outside == {}
    assert record.results["source"] == "drawn, seed 3"
    assert read_architecture(directory).vocab_size == VOCAB_SIZE
    config = read_config(directory)
    assert [config[f"{role}_token_id"] for role in ("bos", "eos", "pad")] == [1, 2, 4]
    assert config["initializer_range"] == 0.02
    for path in tokenizer_dir.glob("*token*"):
        assert (directory / path.name).read_bytes() == path.read_bytes()
    assert CheckpointReader(directory).float32("lm_head.weight").std() == pytest.approx(0.02, rel=0.05)


def test_it_learns(finished: Path) -> None:
    results = read_record(artifact(finished, "pretrain")).results
    assert results["first_loss"] == pytest.approx(np.log(VOCAB_SIZE), abs=0.1)
    assert results["last_loss"] < results["first_loss"] - 0.3


def test_every_checkpoint_is_scored_on_the_same_bytes(finished: Path) -> None:
    scores = json.loads((artifact(finished, "evaluate") / "scores.json").read_text(encoding="utf-8"))
    models = {model["name"]: model for model in scores["models"]}
    assert list(models) == ["init", "pretrain", "upcycle"]
    for language in ("ja", "en"):
        bits = {name: model["bits_per_byte"][language] for name, model in models.items()}
        assert bits["pretrain"] < bits["init"]
        assert models["init"]["num_bytes"] == models["upcycle"]["num_bytes"]


def test_llama_cpp_reads_the_release(finished: Path) -> None:
    """It falls back to no bytes of characters outside of ASCII, and says so."""
    results = read_record(artifact(finished, "export")).results
    assert (artifact(finished, "export") / results["file"]).is_file()
    assert results["llama_cpp"]["num_strings_compared"] > results["llama_cpp"]["num_strings_that_differ"]
    assert all("llama.cpp" in note for note in results["notes"])


def test_a_second_run_does_nothing_and_the_seed_draws_anew(finished: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*/record.json")}
    run(recipe, finished)
    assert {path: path.stat().st_mtime_ns for path in finished.glob("*/record.json")} == before
    other = run(recipe, tmp_path / "run", "seed=4", until="init")
    tokenizer, init = (directory for directory, _ in other)
    same = artifact(finished, "train_tokenizer")
    assert (tokenizer / "tokenizer.model").read_bytes() == (same / "tokenizer.model").read_bytes()
    name = "model.embed_tokens.weight"
    drawn, again = (CheckpointReader(path).float32(name) for path in (init, artifact(finished, "init")))
    assert not np.array_equal(drawn, again)


def test_plan_and_report(finished: Path, tmp_path: Path) -> None:
    plan = plan_recipe(load_recipe(str(write_recipe(tmp_path))))
    stages = {stage.name: stage for stage in plan.stages}
    assert list(stages) == ["train_tokenizer", "init", "pretrain", "upcycle", "evaluate", "export"]
    assert not stages["train_tokenizer"].makes_checkpoint
    written = sum(path.stat().st_size for path in artifact(finished, "init").glob("*.safetensors"))
    assert stages["init"].total_parameters * 4 == pytest.approx(written, rel=0.05)
    assert read_record(artifact(finished, "init")).results["num_parameters"] == stages["init"].total_parameters
    build_report(finished)
    page, card = ((finished / name).read_text(encoding="utf-8") for name in ("index.html", "README.md"))
    assert "語彙の学習" in page
    assert f"A vocabulary of {VOCAB_SIZE - 4:,} tokens trained from nothing" in page
    assert "made with moyai from nothing" in card
    assert "| ja_text |" in card


def test_borrowed_and_mandatory_pieces(tmp_path: Path) -> None:
    write_tiny_sentencepiece(tmp_path, "bpe")
    (tmp_path / "words.txt").write_text("東京都\n\n a boat \n", encoding="utf-8")
    recipe = write_recipe(tmp_path)
    parts = f'[{{corpus: "starter:ja_text", pieces: 500, mandatory: {tmp_path}/words.txt}}]'
    overrides = [f"stages.train_tokenizer.borrow={tmp_path}/tokenizer.model", f"stages.train_tokenizer.stages={parts}"]
    ((directory, record),) = run(
        recipe, tmp_path / "run", *overrides, "architecture.vocab_size=1024", until="train_tokenizer"
    )
    num_borrowed = record.results["num_borrowed_pieces"]
    tokenizer = SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    assert record.results["vocab_size"] == len(tokenizer) == 280 + num_borrowed + 500
    assert tokenizer.piece_to_id("東京都") >= 280 + num_borrowed
    assert tokenizer.piece_to_id("▁a▁boat▁") >= 280 + num_borrowed
    assert record.results["stages"][0]["num_mandatory_pieces"] == 2
    tokens = record.results["efficiency"]["texts"]["ja_text"]["tokens"]
    assert tokens["after"] < tokens["before"], "before: with the tokenizer that lent its pieces"
    assert {path.rpartition("/")[2] for path in record.identity.outside} == {
        "starter:ja_text", "words.txt", "tokenizer.model",
    }  # fmt: skip
    with pytest.raises(RecipeError, match=rf"will have {280 + num_borrowed + 500} ids.*{num_borrowed} of them borrowed"):
        plan_recipe(load_recipe(str(recipe), overrides=[*overrides, "architecture.vocab_size=9999"]))


def test_of_much_text_a_sample_is_looked_at(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    parts = '[{corpus: "starter:ja_text", pieces: 900}]'
    override = f"stages.train_tokenizer.stages={parts}"
    ((_, record),) = run(
        recipe, tmp_path / "run", override, "stages.train_tokenizer.sample_characters=50000", until="train_tokenizer"
    )
    (stage,) = record.results["stages"]
    assert stage["num_characters"] == 119_900
    assert 40_000 < stage["num_sampled_characters"] <= 50_000


FAULTS = [
    ("stages.train_tokenizer.borrow=none.model", InputFileError, "none.model, from which pieces are borrowed, does not"),
    ('stages.train_tokenizer.stages=[{corpus: "none.jsonl", pieces: 900}]', InputFileError, "none.jsonl does not exist"),
]


@pytest.mark.parametrize(("override", "error", "said"), FAULTS)
def test_what_is_not_there(tmp_path: Path, override: str, error: type[UserError], said: str) -> None:
    with pytest.raises(error, match=said):
        run(write_recipe(tmp_path), tmp_path / "run", override)


def test_a_mandatory_piece_that_every_vocabulary_has(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("舟\n<s>\n", encoding="utf-8")
    parts = f'[{{corpus: "starter:ja_text", pieces: 900, mandatory: {tmp_path}/words.txt}}]'
    with pytest.raises(InputFileError, match=r"words\.txt line 2 is '<s>', which every vocabulary has"):
        run(write_recipe(tmp_path), tmp_path / "run", f"stages.train_tokenizer.stages={parts}")


def test_a_borrowed_vocabulary_that_does_not_fit_is_told_when_the_model_is_drawn(tmp_path: Path) -> None:
    write_tiny_sentencepiece(tmp_path, "bpe")
    overrides = [f"stages.train_tokenizer.borrow={tmp_path}/tokenizer.model", "architecture.vocab_size=4096"]
    with pytest.raises(RecipeError, match="vocab_size 4096, but the tokenizer will have"):
        run(write_recipe(tmp_path), tmp_path / "run", *overrides, until="init")
