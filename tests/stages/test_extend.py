"""extend: on every family the old vocabulary answers as before, and the record says what the new rows are worth."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from moyai.checkpoint import model_directory
from moyai.corpus.reading.documents import read_documents
from moyai.errors import FailedError, InputFileError, UserError
from moyai.evaluation.bits_per_byte import score_texts
from moyai.evaluation.scorer import Scorer
from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.load import parse_recipe
from moyai.recipe.record import Record
from moyai.recipe.sources import corpus_file
from moyai.run.single_stage import run_single_stage
from moyai.stages import extend as stage
from moyai.stages.init import fetch
from moyai.tokenizer.text import TextTokenizer
from tiny import ENGLISH, tiny_model, write_tiny_checkpoint, write_tiny_sentencepiece, write_tiny_tokenizer

NUM_PIECES = 30
NUM_BASE = 315  # ids of the tiny tokenizer; the tiny model has 320 rows
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FAMILIES = [
    ("llama", True), ("llama", False), ("mistral", False), ("mixtral", False), ("qwen2", True), ("qwen2_moe", False)
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [document.text[:300] for document in read_documents(corpus_file("starter:ja_text"))][:60]
    path = tmp_path_factory.mktemp("corpus") / "ja.jsonl"
    rows = [{"text": text, "split": "train" if number % 4 else "heldout"} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def heldout(corpus: Path) -> list[str]:
    return [document.text for document in read_documents(corpus) if document.split == "heldout"]


def run(kind: str, base: Path, out_dir: Path, **settings: Any) -> Record:
    data = {"moyai": 1, "name": kind, "base": str(base), "stages": [{kind: settings}]}
    recipe = parse_recipe(json.dumps(data, ensure_ascii=False), where="here")
    return run_single_stage(recipe, out_dir=out_dir, cache_dir=base.parent / "cache", progress=SilentProgress())


def extend(base: Path, out_dir: Path, corpus: Path, **settings: Any) -> Record:
    return run("extend", base, out_dir, **{"corpus": str(corpus), "pieces": NUM_PIECES} | settings)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(directory / "model.safetensors")
    return found


def pieces(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "pieces.jsonl").read_text(encoding="utf-8").splitlines()]


def logits(directory: Path, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(directory)(input_ids=ids).logits
    return found


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_every_family(family: str, tied: bool, tmp_path: Path, corpus: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base", family, tied=tied)
    out = tmp_path / "out"
    results = extend(base, out, corpus, init="best", pad_vocab_to=64).results
    num_base = TextTokenizer(base).num_ids
    assert (results["vocab_size"], results["padded_vocab_size"]) == (num_base + NUM_PIECES, 384)
    ids = torch.randint(0, num_base, (2, 20), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits(out, ids)[..., :num_base], logits(base, ids)[..., :num_base])
    before, after = weights(base), weights(out)
    assert before.keys() == after.keys()
    for name in before:
        same = torch.equal(after[name][:num_base], before[name][:num_base]) if name in (EMBEDDING, HEAD) else False
        assert same or torch.equal(after[name], before[name]), name

    trials = results["trials"]
    ways = {"mean", "focus", "calibrated"} | (set() if tied else {"first"})
    assert set(trials["bits_per_byte"]) == ways
    assert set(trials["left_out"]) == ({"first"} if tied else set())
    assert results["init"] == min(ways, key=lambda way: trials["bits_per_byte"][way])
    texts = heldout(corpus)[: trials["num_documents"]]
    with SilentProgress().bar("score", total=1, unit="tokens") as bar:
        score = score_texts(Scorer(out, torch.device("cpu")), TextTokenizer(out), texts, bar)
    assert (score.num_bytes, score.num_tokens) == (trials["num_bytes"], trials["num_tokens"])
    assert score.bits_per_byte == pytest.approx(trials["bits_per_byte"][results["init"]], abs=2e-4)


@pytest.mark.parametrize("init", ["mean", "first", "calibrated", "focus"])
def test_each_way_by_itself(init: str, tmp_path: Path, corpus: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base", tied=False)
    assert extend(base, tmp_path / "out", corpus, init=init).results["init"] == init
    before, after = weights(base), weights(tmp_path / "out")
    rows = pieces(tmp_path / "out")
    for name in (EMBEDDING, HEAD):
        means = torch.stack([before[name][row["from"]].mean(0) for row in rows])
        firsts = torch.stack([before[name][row["from"][0]] for row in rows])
        made = after[name][rows[0]["id"] : rows[0]["id"] + NUM_PIECES]
        is_mean, is_first = (torch.allclose(made, expected, atol=1e-6) for expected in (means, firsts))
        assert is_mean == (init == "mean" or (init in ("first", "calibrated") and name == EMBEDDING))
        assert is_first == (init == "first" and name == HEAD)


def test_what_the_record_says(tmp_path: Path, corpus: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    results = extend(base, tmp_path / "out", corpus).results
    content = (tmp_path / "out" / "pieces.jsonl").read_bytes()
    assert results["pieces_sha256"] == hashlib.sha256(content).hexdigest()
    rows = pieces(tmp_path / "out")
    assert [row["id"] for row in rows] == list(range(NUM_BASE, NUM_BASE + NUM_PIECES))
    tokenizer, old = TextTokenizer(tmp_path / "out"), TextTokenizer(base)
    for row in rows:
        if "⟨" not in row["piece"]:
            assert row["id"] in tokenizer.encode(row["piece"])
            assert old.encode(row["piece"]) == row["from"]
    tokens = {name: counted["tokens"] for name, counted in results["efficiency"]["texts"].items()}
    texts = heldout(corpus)
    assert tokens["ja"] == {
        "before": sum(map(len, old.encode_batch(texts))), "after": sum(map(len, tokenizer.encode_batch(texts)))
    }  # fmt: skip
    assert tokens["ja"]["after"] < tokens["ja"]["before"]
    english = results["english"]
    assert english["num_lines"] > 10
    assert english["tokens_after"] <= english["tokens_before"]
    assert len(english["examples"]) == min(english["changed"], 5)
    for example in english["examples"]:
        assert len(tokenizer.encode(example["line"])) == example["tokens_after"] <= example["tokens_before"]


def test_the_origins_of_a_mixture_are_kept(tmp_path: Path, corpus: Path) -> None:
    run("upcycle", write_tiny_checkpoint(tmp_path / "base"), tmp_path / "moe", experts=4, active=2)
    (tmp_path / "fetched").mkdir()
    fetch(str(tmp_path / "moe"), tmp_path / "fetched", tmp_path / "cache", SilentProgress())
    extend(tmp_path / "fetched", tmp_path / "out", corpus)
    first, second = (
        json.loads((tmp_path / name / "tensor_origins.json").read_text(encoding="utf-8")) for name in ("moe", "out")
    )
    expert = "model.layers.1.block_sparse_moe.experts.3.w1.weight"
    assert second.pop(EMBEDDING).startswith(f"rows 0 to 315 of ({first.pop(EMBEDDING)}), 30 rows of pieces by mean, sha256 ")
    assert second == first
    assert second[expert] == "copy of model.layers.1.mlp.gate_proj.weight"
    # A dense vector still finds its place in every expert.
    for name, seed in (("chat", 1), ("plain", 0)):
        write_tiny_checkpoint(tmp_path / name, seed=seed)
    vector = {"chat": str(tmp_path / "chat"), "base": str(tmp_path / "plain")}
    results = run("chat_vector", tmp_path / "out", tmp_path / "tuned", chat_vectors=[vector]).results
    assert results["skip"] == ["embeddings", "head"]
    difference = weights(tmp_path / "chat")["model.layers.1.mlp.gate_proj.weight"] - (
        weights(tmp_path / "plain")["model.layers.1.mlp.gate_proj.weight"]
    )
    torch.testing.assert_close(weights(tmp_path / "tuned")[expert] - weights(tmp_path / "out")[expert], difference)


def test_extended_twice(tmp_path: Path, corpus: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    extend(base, tmp_path / "once", corpus, pad_vocab_to=128)
    results = extend(tmp_path / "once", tmp_path / "twice", corpus, pieces=10).results
    assert results["vocab_size"] == NUM_BASE + NUM_PIECES + 10
    assert results["padded_vocab_size"] == 384  # padding of the first time is used, and never taken away
    assert pieces(tmp_path / "twice")[0]["id"] == NUM_BASE + NUM_PIECES
    once, twice = weights(tmp_path / "once")[EMBEDDING], weights(tmp_path / "twice")[EMBEDDING]
    assert torch.equal(once[: NUM_BASE + NUM_PIECES], twice[: NUM_BASE + NUM_PIECES])
    origins = json.loads((tmp_path / "twice" / "tensor_origins.json").read_text(encoding="utf-8"))
    assert origins[EMBEDDING].startswith("rows 0 to 345 of (rows 0 to 315 of model.embed_tokens.weight, 30 rows")


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece(kind: Any, tmp_path: Path, corpus: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    write_tiny_sentencepiece(base, kind)
    num_ids = TextTokenizer(base).num_ids
    tiny_model("mistral", vocab_size=num_ids, tied=False).save_pretrained(base)
    results = extend(base, tmp_path / "out", corpus, init="best").results
    assert results["vocab_size"] == num_ids + NUM_PIECES == TextTokenizer(tmp_path / "out").num_ids
    tokens = {name: counted["tokens"] for name, counted in results["efficiency"]["texts"].items()}
    assert tokens["ja"]["after"] < tokens["ja"]["before"]
    assert tokens["en_text"]["after"] <= tokens["en_text"]["before"]
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() != (base / "tokenizer.model").read_bytes()


def test_torch_files(tmp_path: Path, corpus: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base", tied=False)
    extend(base, tmp_path / "wanted", corpus, init="calibrated")
    torch.save(weights(base), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    extend(base, tmp_path / "out", corpus, init="calibrated")
    wanted, found = weights(tmp_path / "wanted"), weights(tmp_path / "out")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_resumed_run_learns_nothing_again(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    extend(base, tmp_path / "wanted", corpus, init="best")

    def broken(*_arguments: Any, **_more: Any) -> None:
        raise FailedError("it broke")

    with monkeypatch.context() as patch:
        patch.setattr(model_directory, "write_config", broken)
        with pytest.raises(FailedError):
            extend(base, tmp_path / "out", corpus, init="best")
    monkeypatch.setattr(stage, "learn_extension", broken)
    monkeypatch.setattr(stage, "choose_rows", broken)
    assert extend(base, tmp_path / "out", corpus, init="best").resumed == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in (tmp_path / "wanted").iterdir()
    )
    for path in (tmp_path / "out").iterdir():
        if path.name != "record.json":
            assert path.read_bytes() == (tmp_path / "wanted" / path.name).read_bytes(), path.name


def test_a_tokenizer_with_more_ids_than_rows_is_refused(tmp_path: Path, corpus: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    path = base / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for id_ in range(NUM_BASE, 321):
        data["added_tokens"].append({**data["added_tokens"][0], "id": id_, "content": f"<|more {id_}|>"})
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputFileError, match=r"has 321 ids, but its embedding has 320 rows"):
        extend(base, tmp_path / "out", corpus)


def test_vocabulary_files_that_double_the_tokenizers_are_left_out(tmp_path: Path, corpus: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    for name in ("vocab.json", "merges.txt", "chat_template.jinja"):
        (base / name).write_text("{}", encoding="utf-8")
    extend(base, tmp_path / "out", corpus)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names & {"vocab.json", "merges.txt", "chat_template.jinja"} == {"chat_template.jinja"}


def test_what_is_measured_is_bounded_over_all_files(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_MEASURED_CHARACTERS_OF_ALL", 1200)
    for number in range(3):
        (tmp_path / f"ja{number}.jsonl").write_bytes(corpus.read_bytes())
    results = extend(write_tiny_checkpoint(tmp_path / "base"), tmp_path / "out", tmp_path / "ja*.jsonl").results
    measured = {name: one["characters"] for name, one in results["efficiency"]["texts"].items() if name.startswith("ja")}
    assert set(measured) == {"ja0", "ja1", "ja2"}
    assert all(count < 400 + 300 for count in measured.values())  # a text has 300 characters at most
    assert sum(map(len, heldout(corpus))) > 1200


def test_faults(tmp_path: Path, corpus: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    with pytest.raises(UserError, match=r"init is first, but the head of .*base is its embedding"):
        extend(base, tmp_path / "out", corpus, init="first")
    only_train = tmp_path / "train.jsonl"
    only_train.write_text("".join(
        json.dumps({"text": text, "split": "train"}) + "\n" for text in heldout(corpus)
    ), encoding="utf-8")  # fmt: skip
    with pytest.raises(InputFileError, match="no held-out document to choose the rows by"):
        extend(base, tmp_path / "out", only_train, init="best")
    english = tmp_path / "en.txt"
    english.write_text(ENGLISH * 200, encoding="utf-8")
    with pytest.raises(UserError, match=r"the corpus yields .* new pieces"):
        extend(base, tmp_path / "out", english, pieces=3000)
    other = tmp_path / "other"
    other.mkdir()
    write_tiny_tokenizer(other)
    (other / "config.json").write_bytes((base / "config.json").read_bytes())
    torch.save(dict(list(weights(base).items())[1:]), other / "pytorch_model.bin")
    with pytest.raises(InputFileError, match="1 are missing"):
        extend(other, tmp_path / "out", corpus)


@pytest.mark.parametrize("family", ["byte-level", "bpe", "unigram"])
def test_llama_cpp_cuts_as_the_extended_tokenizer_does(tmp_path: Path, corpus: Path, family: str) -> None:
    base = tmp_path / "base"
    if family == "byte-level":
        write_tiny_checkpoint(base, tied=False)
    else:
        base.mkdir()
        write_tiny_sentencepiece(base, "bpe" if family == "bpe" else "unigram")
        tiny_model("llama", vocab_size=TextTokenizer(base).num_ids, tied=False).save_pretrained(base)
    extend(base, tmp_path / "out", corpus)
    checkpoint_to_gguf(tmp_path / "out", tmp_path / "out.gguf", type="f16", progress=SilentProgress())
    tokenizer = TextTokenizer(tmp_path / "out")
    new_ids = {row["id"] for row in pieces(tmp_path / "out")}
    texts = [part for text in heldout(corpus) for part in re.split(r"[、。\s]", text) if part]
    if family == "unigram":  # llama.cpp does not fall back to bytes for Unigram
        texts = [text for text in texts if not _has_bytes(tokenizer, text)]
    texts += ["  two  spaces", "page 1 of 20"]
    with LlamaCpp(tmp_path / "out.gguf", num_context=64, num_threads=1) as llama_cpp:
        cut = [tokenizer.encode(text) for text in texts]
        assert [llama_cpp.tokenize(text) for text in texts] == cut
    assert len(texts) >= 10, "there is something to compare"
    assert new_ids & {id_ for ids in cut for id_ in ids}


def _has_bytes(tokenizer: TextTokenizer, text: str) -> bool:
    _, spelled = tokenizer.encode_with_bytes(text)
    return any(len(one) == 1 and one[0] >= 0x80 for one in spelled)
