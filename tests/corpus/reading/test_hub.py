"""Data sets of a hub on loopback: streamed at one commit, no code run, faults told."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from checkpoint.loopback_hub import Hub, Repository, loopback_hub

TEXTS = [f"{number} 潮が満ちる" for number in range(5)]


def parquet(texts: list[str]) -> bytes:
    file = io.BytesIO()
    columns = {"text": texts, "meta": [{"body": text[::-1]} for text in texts], "split": ["train"] * len(texts)}
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


CONFIGS = b"""---
configs:
- config_name: ja
  data_files: [{split: train, path: ja/*.jsonl.gz}]
- config_name: en
  data_files: [{split: train, path: en/*}]
---
"""
WORDS = {"data/train-00000-of-00001.parquet": parquet(TEXTS), "README.md": b"Words."}
TWO = {"README.md": CONFIGS, "ja/a.jsonl.gz": gzip.compress(jsonl(TEXTS)), "en/a.jsonl": jsonl(["sea"])}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with loopback_hub() as served:
        for name, files in (
            ("words", WORDS),
            ("two", TWO),
            ("script", {"script.py": b"raise SystemExit('it was run')", "README.md": b""}),
        ):
            served.repositories[f"owner/{name}"] = Repository()
            served.repositories[f"owner/{name}"].commit(files)
        yield served


# One line of JSON for each line of JSON on standard input: what to do, a source, its settings.
ASK = """
import json, sys, time
from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.read import read_source
from moyai.errors import UserError
from moyai.recipe.corpus_settings import CorpusSource
from moyai.stages.outside import file_hashes
time.sleep = lambda seconds: None  # the hub's library waits before it tries again
for line in sys.stdin:
    what, name, settings = json.loads(line)
    try:
        if what == "hash":
            answer = file_hashes([name])
        else:
            source = CorpusSource(files=(name,), **settings)
            answer = [[d.id, d.text, d.split] for d in read_source(name, source, Broken("stop"))]
    except UserError as error:
        answer = f"refused: {error}"
    print(json.dumps(answer), flush=True)
"""


def ask(tmp_path: Path, hub: Hub, *questions: tuple[str, str, dict[str, Any]]) -> list[Any]:
    # The hub's settings are read when its library is imported: hence a process of its own.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    told, command = "\n".join(map(json.dumps, questions)), [sys.executable, "-c", ASK]
    done = subprocess.run(command, input=told, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_data_sets_are_streamed_at_the_commit_that_is_recorded(tmp_path: Path, hub: Hub) -> None:
    words = "hub:owner/words:train"
    japanese = "hub:owner/two@main/ja:train"
    hashes, documents, inside, first, packed = ask(
        tmp_path,
        hub,
        ("hash", words, {}),
        ("read", words, {}),
        ("read", words, {"text": "meta.body", "max_documents": 1}),
        ("read", words, {"max_documents": 2}),
        ("read", japanese, {}),
    )
    (commit,) = hub.repositories["owner/words"].commits
    assert hashes == {words: f"owner/words@{commit}"}
    assert documents == [[f"{words}:{number}", text, "train"] for number, text in enumerate(TEXTS, start=1)]
    assert inside == [[f"{words}:1", TEXTS[0][::-1], "train"]]
    assert first == documents[:2]
    assert [document[1] for document in packed] == TEXTS
    asked = [request for request in hub.requests if "/resolve/" in request and "/owner/words/" in request]
    assert asked
    assert all(f"/resolve/{commit}/" in request for request in asked), "every file is of that commit"


def test_what_a_hub_does_not_give(tmp_path: Path, hub: Hub) -> None:
    names = [
        "hub:owner/none:train",
        "hub:owner/words@v9:train",
        "hub:owner/words:dev",
        "hub:owner/two/ko:train",
        "hub:owner/script:train",
    ]
    none, revision, split, config, script, column = ask(
        tmp_path, hub, *(("read", name, {}) for name in names), ("read", "hub:owner/words:train", {"text": "body"})
    )
    assert none == f"refused: {hub.url} has no repository owner/none, or it is private"
    assert revision == "refused: owner/words has no revision 'v9'"
    assert split.startswith("refused: the data set owner/words at ")
    assert "cannot be read: " in split
    assert "'ko'" in config
    assert script.startswith("refused: the data set owner/script at ")
    assert column == "refused: hub:owner/words:train has no column 'body', which `text` names"


def test_a_line_that_breaks_off(tmp_path: Path, hub: Hub) -> None:
    whole = parquet([f"{number} {number * 2654435761 % 2**32}" for number in range(40_000)])
    cut = hub.repositories["owner/cut"] = Repository()
    cut.commit({"data/train.parquet": whole})
    cut.cut["data/train.parquet"] = len(whole) // 2
    (told,) = ask(tmp_path, hub, ("read", "hub:owner/cut:train", {}))
    assert told.startswith("refused: the data set owner/cut at ")
