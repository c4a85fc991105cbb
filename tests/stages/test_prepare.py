"""prepare: sources in, shards out; counts add up, a killed run ends with the same bytes, and training reads the result."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import moyai
from moyai.corpus.packing.packed import PackedCorpus
from moyai.corpus.packing.preparation import Preparation
from moyai.corpus.reading.documents import read_documents, read_rows
from moyai.errors import InputFileError, UserError
from moyai.progress import SilentProgress
from moyai.recipe.corpus_settings import PrepareSettings
from moyai.recipe.load import load_recipe
from moyai.recipe.record import Record, read_record
from moyai.recipe.settings import PretrainSettings
from moyai.recipe.sources import corpus_file
from moyai.run.runner import run_recipe
from moyai.stages import prepare
from moyai.stages.contract import StageContext
from moyai.stages.pretrain import tokenised_documents
from moyai.tokenizer.text import TextTokenizer
from moyai.training.pretrain import pretrain_rows
from tiny import ENGLISH, JAPANESE, write_tiny_checkpoint, write_tiny_tokenizer

_PROGRAM = "import sys; from moyai.cli.main import main; sys.exit(main())"


def write_rows(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def japanese(count: int) -> list[str]:
    return [document.text for document in read_documents(corpus_file("starter:ja_text"))][:count]


def write_sources(root: Path) -> None:
    texts = japanese(120)
    train = [{"text": text, "split": "train"} for text in texts]
    write_rows(root / "ja-1.jsonl", [*train[:50], {"text": texts[3].replace("、", " 、"), "split": "train"}])
    write_rows(root / "ja-2.jsonl", [{"text": texts[7] + "\n続き。", "split": "train"}, *train[50:80]])
    aside = [{"text": text, "split": "heldout"} for text in texts[80:83]]
    others = [{"text": text} for text in texts[83:]]
    write_rows(root / "ja-3.jsonl", [*aside, *others, {"text": ENGLISH * 2, "split": "train"}])
    english = [document.text for document in read_documents(corpus_file("starter:en_text"))][:40]
    write_rows(root / "en.jsonl", [{"text": text, "id": f"e{number}"} for number, text in enumerate(english)])
    (root / "boats.txt").write_text(ENGLISH * 5, encoding="utf-8")


_RECIPE = """
moyai: 1
name: packed
base: {root}/base
stages:
  - prepare:
      sources: {{ja: {{files: "{root}/ja-*.jsonl", language: ja}}, en: ["{root}/en.jsonl", "{root}/boats.txt"]}}
      duplicates: {{near: 0.9}}
      shard_bytes: 20000
  - pretrain: {{corpus: {corpus}, tokens: 1024, batch_tokens: 256, row_tokens: 128, precision: float32}}
"""


def run(root: Path, *, corpus: str = "stage:prepare", out: str = "run") -> dict[str, tuple[Path, Record]]:
    recipe = root / "packed.yaml"
    recipe.write_text(_RECIPE.format(root=root, corpus=corpus), encoding="utf-8")
    done = run_recipe(
        load_recipe(str(recipe)), out_dir=root / out, until=None, cache_dir=root / "cache", progress=SilentProgress()
    )
    return {record.name: (directory, record) for directory, record in done}


def prepare_alone(root: Path, **values: Any) -> tuple[Path, Mapping[str, Any]]:
    out_dir = root / "out"
    out_dir.mkdir(exist_ok=True)
    chosen = PrepareSettings.model_validate(values)
    context = StageContext(out_dir, {"init": root / "base"}, root / "cache", SilentProgress())
    return out_dir, prepare.run(chosen, context)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[Path, Record]]]:
    root = tmp_path_factory.mktemp("prepare")
    write_tiny_checkpoint(root / "base")
    write_sources(root)
    return root, run(root)


Finished = tuple[Path, dict[str, tuple[Path, Record]]]


def test_the_counts_add_up_in_the_record_and_in_the_manifest(finished: Finished) -> None:
    directory, record = finished[1]["prepare"]
    results = record.results
    assert results["num_read"] == 51 + 31 + 41 + 40 + 1
    assert results["num_read"] == results["num_documents"] + sum(results["dropped"].values())
    unsaid = [document for name in ("ja-3", "en") for document in read_documents(finished[0] / f"{name}.jsonl")]
    held_out = sum(document.split == "heldout" for document in unsaid)
    assert results["dropped"] == {"exact duplicate": 1, "held out": held_out, "language": 1, "near duplicate": 1}
    corpus = PackedCorpus.open(directory)
    corpus.verify()
    for name, counts in corpus.manifest.sources.items():
        assert counts.read == counts.documents + sum(counts.dropped.values())
        assert results["sources"][name]["tokens"] == counts.tokens == corpus.sources[name].num_tokens
    assert len(corpus.manifest.sources["ja"].shards) > 1


def test_the_shards_hold_the_kept_texts_in_the_order_of_the_files(finished: Finished) -> None:
    root, done = finished
    corpus, tokenizer = PackedCorpus.open(done["prepare"][0]), TextTokenizer(root / "base")
    rows = [document for name in ("ja-1", "ja-2", "ja-3") for document in read_documents(root / f"{name}.jsonl")]
    texts = [document.text for document in rows if document.split == "train" and not document.text.startswith("The boat")]
    copies = [texts.index(rows[50].text), texts.index(rows[51].text)]
    expected = tokenizer.encode_batch([text for number, text in enumerate(texts) if number not in copies])
    found = [document.tolist() for document in corpus.sources["ja"]]
    assert found == [[tokenizer.document_start, *ids, tokenizer.document_end] for ids in expected]


def test_copies_of_held_out_documents_are_not_trained_on(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "base")
    texts = japanese(30)
    first = [{"text": text, "split": "train"} for text in texts]
    first += [{"text": texts[2].replace("、", "、\n"), "split": "train"}]
    aside = [{"text": text, "split": "heldout"} for text in (texts[2], texts[5] + "\n続き。", texts[5])]
    write_rows(tmp_path / "a.jsonl", first)
    write_rows(tmp_path / "b.jsonl", aside)
    out_dir, results = prepare_alone(
        tmp_path,
        sources={"a": str(tmp_path / "a.jsonl"), "b": [str(tmp_path / "b.jsonl"), str(tmp_path / "a.jsonl")]},
    )
    assert results["sources"]["a"]["dropped"] == {"like a held-out document": 3}
    # of the second time that the file is read, what the first has kept is its copy
    assert results["sources"]["b"]["dropped"] == {"exact duplicate": 28, "held out": 3, "like a held-out document": 3}
    assert (results["num_read"], results["num_documents"]) == (65, 28)
    tokenizer = TextTokenizer(tmp_path / "base")
    expected = tokenizer.encode_batch([text for number, text in enumerate(texts) if number not in (2, 5)])
    packed = [document.tolist()[1:-1] for document in PackedCorpus.open(out_dir).sources["a"]]
    assert packed == [list(ids) for ids in expected]
    samples = list(read_rows(out_dir / "dropped" / "like-a-held-out-document.jsonl"))
    assert [sample["id"] for sample in samples][:3] == [f"{tmp_path}/a.jsonl:{line}" for line in (3, 6, 31)]
    copies = list(read_rows(out_dir / "dropped" / "exact-duplicate.jsonl"))
    assert {copy["like"]["file"] for copy in copies} == {f"{tmp_path}/a.jsonl"}
    assert [copy["like"]["kept_document"] for copy in copies] == [n + 1 for n in range(30) if n not in (2, 5)]


def test_what_killed_processes_left_is_removed_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_checkpoint(tmp_path / "base")
    write_rows(tmp_path / "a.jsonl", [{"text": ENGLISH, "split": "train"}])
    resume = tmp_path / "out" / "resume"
    names = ("bands", "cleaned/000000", "packed/000000")
    left = [resume / f"{name}.partial-{socket.gethostname()}-{os.getpid()}" for name in names]
    for directory in left:
        directory.mkdir(parents=True)
    seen: list[bool] = []
    clean_jobs = Preparation.clean_jobs

    def looks(self: Preparation) -> Any:
        seen.append(any(directory.exists() for directory in left))
        return clean_jobs(self)

    monkeypatch.setattr(Preparation, "clean_jobs", looks)
    prepare_alone(tmp_path, sources={"a": str(tmp_path / "a.jsonl")})
    assert not seen[0]


def test_sources_on_the_hub_are_cleaned_by_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def run_each(work: Any, jobs: Any, *, workers: int, look: Any) -> Any:
        asked.append(workers)
        raise KilledError

    monkeypatch.setattr("moyai.corpus.reading.hub.hub_commit", lambda source: "1" * 40)
    monkeypatch.setattr("moyai.stages.prepare.run_each", run_each)
    monkeypatch.setattr("moyai.stages.prepare.num_cores", lambda: 8)
    with pytest.raises(KilledError):
        prepare_alone(tmp_path, sources={name: f"hub:owner/{name}:train" for name in ("one", "two", "three")})
    assert asked == [3]


@pytest.mark.parametrize(
    "name", ["heldout", "dropped", "resume", "Resume", "manifest.json", "record.json", "d.jsonl", "a.JSON", "a.partial"]
)
def test_a_source_has_no_name_of_another_file_of_the_corpus(name: str) -> None:
    with pytest.raises(ValidationError, match=f"a source cannot be called {name}; dropped, heldout, resume and names"):
        PrepareSettings.model_validate({"sources": {"ja": "a.jsonl", name: "b.jsonl"}})


def test_sources_differ_in_more_than_upper_and_lower_case() -> None:
    with pytest.raises(ValidationError, match="the sources ja and JA differ in upper and lower case only"):
        PrepareSettings.model_validate({"sources": {"ja": "a.jsonl", "JA": "b.jsonl"}})
    assert len(PrepareSettings.model_validate({"sources": {"json": "a.jsonl", "resumes": "b.jsonl"}}).sources) == 2


def test_what_was_dropped_can_be_looked_at(finished: Finished) -> None:
    root, done = finished
    directory = done["prepare"][0] / "dropped"
    samples = {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in directory.iterdir()}
    assert sorted(samples) == ["exact-duplicate", "language", "near-duplicate"]
    (copy,) = samples["exact-duplicate"]
    assert (copy["source"], copy["file"], copy["id"]) == ("ja", f"{root}/ja-1.jsonl", f"{root}/ja-1.jsonl:51")
    assert copy["like"] == {"source": "ja", "file": f"{root}/ja-1.jsonl", "kept_document": 4}
    (near,) = samples["near-duplicate"]
    assert near["like"] == {"source": "ja", "file": f"{root}/ja-1.jsonl", "kept_document": 8}
    assert near["text"].endswith("続き。")
    with gzip.open(done["prepare"][0] / "heldout" / "ja.jsonl.gz", "rt", encoding="utf-8") as file:
        held_out = [json.loads(line)["text"] for line in file]
    assert len(held_out) == done["prepare"][1].results["sources"]["ja"]["dropped"]["held out"]


def test_training_reads_the_packed_corpus_and_counts_each_source(finished: Finished) -> None:
    sources = finished[1]["pretrain"][1].results["sources"]
    sizes = {name: counts["tokens"] for name, counts in finished[1]["prepare"][1].results["sources"].items()}
    assert sorted(sources) == ["stage:prepare/en", "stage:prepare/ja"]
    assert sum(source["tokens"] for source in sources.values()) == 1024
    share = sizes["ja"] / sum(sizes.values())
    longest = max(len(document) for document in PackedCorpus.open(finished[1]["prepare"][0]).sources["ja"])
    assert abs(sources["stage:prepare/ja"]["tokens"] - share * 1024) <= longest


def test_training_on_shards_is_training_on_the_files(finished: Finished) -> None:
    """The same documents under the same name in the same order: then the same rows."""
    root, _ = finished
    texts = [{"text": document.text, "split": "train"} for document in read_documents(root / "en.jsonl")]
    write_rows(root / "same.jsonl", texts)
    name = str(root / "same.jsonl")
    out_dir, _ = prepare_alone(root, sources={"same": name}, duplicates={"exact": False, "near": None})
    tokenizer = TextTokenizer(root / "base")
    chosen = PretrainSettings.model_validate({"corpus": name, "tokens": 2048, "row_tokens": 128})
    of_file = tokenised_documents(name, tokenizer, {})
    of_shards = {name: tokenised_documents("stage:p/same", tokenizer, {"p": out_dir})["stage:p/same"]}
    first, second = (pretrain_rows({name: documents}, chosen) for documents in (of_file, of_shards))
    assert list(first.trees) == list(second.trees)
    assert first.sources == second.sources


def test_another_tokenizer_is_noticed_before_training(finished: Finished, tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path, vocab_size=300)
    with pytest.raises(InputFileError, match="was packed with another tokenizer than that of"):
        tokenised_documents("stage:prepare", TextTokenizer(tmp_path), {"prepare": finished[1]["prepare"][0]})


def test_nothing_left_is_told_with_the_reasons(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "base")
    write_rows(tmp_path / "a.jsonl", [{"text": ENGLISH, "split": "train"}, {"text": JAPANESE, "split": "heldout"}])
    source = {"files": str(tmp_path / "a.jsonl"), "language": "ja"}
    with pytest.raises(UserError, match=r"nothing is left to pack: 1 (language|held out), 1 (language|held out)"):
        prepare_alone(tmp_path, sources={"ja": source})


@pytest.mark.parametrize("action", ["report", "drop"])
def test_documents_with_evaluation_texts_are_told_and_dropped_if_that_is_wanted(tmp_path: Path, action: str) -> None:
    write_tiny_checkpoint(tmp_path / "base")
    texts = japanese(12)
    write_rows(tmp_path / "ja.jsonl", [{"text": text, "split": "train"} for text in texts])
    quiz = [texts[4][10:60], "猫は何匹いるでしょうか、数えてください。"]
    write_rows(tmp_path / "quiz.jsonl", [{"question": question} for question in quiz])
    out_dir, results = prepare_alone(
        tmp_path,
        sources={"ja": str(tmp_path / "ja.jsonl")},
        contamination={"files": str(tmp_path / "quiz.jsonl"), "action": action},
    )
    assert results["dropped"] == ({"contaminated": 1} if action == "drop" else {})
    assert results["num_documents"] == 12 - (action == "drop")
    found = results["contamination"]
    assert (found["action"], found["documents"], found["contaminated"]) == (action, 12, 1)
    assert found["sets"] == {"quiz.jsonl": {"items": 2, "searchable": 2, "found": 1, "documents": 1}}
    told = json.loads((out_dir / "contamination.json").read_text(encoding="utf-8"))
    (sample,) = told["sets"]["quiz.jsonl"]["samples"]
    assert (sample["document"], sample["item"]) == (f"{tmp_path}/ja.jsonl:5", 1)
    if action == "drop":
        dropped = json.loads((out_dir / "dropped" / "contaminated.jsonl").read_text(encoding="utf-8"))
        assert dropped["hits"] == [{"set": "quiz.jsonl", "item": 1, "run": sample["run"]}]


def test_a_changed_evaluation_set_makes_another_identity(tmp_path: Path) -> None:
    write_rows(tmp_path / "ja.jsonl", [{"text": "舟"}])
    write_rows(tmp_path / "quiz.jsonl", [{"question": "舟は何艘？"}])
    values = {"sources": {"ja": str(tmp_path / "*.jsonl")}, "contamination": {"files": str(tmp_path / "quiz.jsonl")}}
    chosen = PrepareSettings.model_validate(values)
    before = prepare.outside(chosen, tmp_path)
    assert sorted(Path(name).name for name in before) == ["ja.jsonl", "quiz.jsonl"]
    write_rows(tmp_path / "quiz.jsonl", [{"question": "舟は何艘ありますか？"}])
    assert prepare.outside(chosen, tmp_path) != before


def artifact(directory: Path) -> dict[str, str]:
    """Every file of the artifact but the record, which has times in it."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "record.json"
    }


def test_the_number_of_processes_changes_nothing(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    root, done = finished
    monkeypatch.setattr("moyai.stages.prepare._BYTES_PER_WORKER", 1)
    monkeypatch.setattr("moyai.stages.prepare.num_cores", lambda: 2)
    again = run(root, out="in-two")["prepare"]
    assert artifact(again[0]) == artifact(done["prepare"][0])
    assert again[1].results == done["prepare"][1].results


def test_a_run_killed_anywhere_ends_with_the_same_bytes(finished: Finished) -> None:
    root, done = finished
    recipe = root / "packed.yaml"
    recipe.write_text(_RECIPE.format(root=root, corpus="stage:prepare"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(moyai.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PROGRAM, "run", str(recipe), "--out", str(root / "cut"), "--until", "prepare"]
    moments, kills = random.Random(4), 0
    for _ in range(6):
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "prepare: started" in line or "prepare: going on" in line:
                    time.sleep(moments.uniform(0.0, done["prepare"][1].seconds))
                    process.send_signal(signal.SIGKILL)
                    break
            process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 2
    again = run(root, out="cut")["prepare"]
    assert artifact(again[0]) == artifact(done["prepare"][0])
    assert again[1].results == done["prepare"][1].results
    assert read_record(again[0]).resumed >= 1


class KilledError(BaseException):
    pass


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, 140))
def test_a_stop_between_any_two_files_ends_with_the_same_bytes(
    finished: Finished, place: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, done = finished
    out_dir = tmp_path_factory.mktemp("stopped") / "out"
    out_dir.mkdir()
    context = StageContext(out_dir, {"init": root / "base"}, root / "cache", SilentProgress())
    chosen = load_recipe(str(root / "packed.yaml")).steps()[1].settings
    assert isinstance(chosen, PrepareSettings)
    renames = 0
    original = Path.replace

    def stops(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == place + 1:
            raise KilledError
        return original(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", stops)
        try:
            results = prepare.run(chosen, context)
        except KilledError:
            results = None
    if results is None:
        results = prepare.run(chosen, context)
    found = {name: digest for name, digest in artifact(out_dir).items() if not name.startswith("resume/")}
    assert found == artifact(done["prepare"][0])
    assert json.loads(json.dumps(results)) == done["prepare"][1].results
