from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from moyai.corpus.reading.documents import read_documents
from moyai.errors import InputFileError
from moyai.tokenizer.efficiency import Efficiency, compare, measure, measure_groups, tokenizer_file
from tiny import ENGLISH, JAPANESE, write_tiny_sentencepiece, write_tiny_tokenizer


@pytest.fixture(scope="module")
def unigram_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unigram")
    write_tiny_sentencepiece(directory, "unigram")
    return directory


@pytest.fixture(scope="module")
def bpe_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bpe")
    write_tiny_tokenizer(directory)
    return directory


def test_characters_bytes_and_tokens(bpe_dir: Path) -> None:
    texts = ["舟は", ENGLISH, ""]
    tokenizer = Tokenizer.from_file(str(bpe_dir / "tokenizer.json"))
    num_tokens = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    found = measure(bpe_dir, iter(texts))
    assert found == Efficiency(2 + len(ENGLISH), 6 + len(ENGLISH), num_tokens)
    assert found.characters_per_token == found.num_characters / num_tokens
    assert found.bytes_per_token == found.num_bytes / num_tokens


def test_no_text_has_no_rate(bpe_dir: Path) -> None:
    assert measure(bpe_dir, []) == Efficiency()
    assert measure(bpe_dir, [""]).characters_per_token is None


def test_both_libraries_count_the_same_and_no_mark(unigram_dir: Path) -> None:
    """Its tokenizer.json puts <s> before a text, which is no part of it."""
    texts = [ENGLISH, *JAPANESE.splitlines()]
    counts = [measure(unigram_dir / name, texts) for name in ("tokenizer.json", "tokenizer.model")]
    assert counts[0] == counts[1] == measure(unigram_dir, texts)


def test_a_tokenizer_that_cuts_off_and_pads_is_measured_whole(bpe_dir: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(bpe_dir / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=1000)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert measure(tmp_path, [ENGLISH]) == measure(bpe_dir, [ENGLISH])


def test_groups_in_one_pass(bpe_dir: Path) -> None:
    mixed = [("ja", "舟は"), ("en", "The boat"), ("ja", "岸だ")]
    found = measure_groups(bpe_dir, iter(mixed))
    assert found == {"ja": measure(bpe_dir, ["舟は", "岸だ"]), "en": measure(bpe_dir, ["The boat"])}


def test_what_a_record_holds(bpe_dir: Path, unigram_dir: Path) -> None:
    text = JAPANESE.splitlines()[0]
    before, after = (measure(path, [text]) for path in (bpe_dir, unigram_dir))
    found = compare(bpe_dir, unigram_dir, {"ja": [text], "none": []})
    tokens = {"before": before.num_tokens, "after": after.num_tokens}
    assert found == {"texts": {"ja": {"characters": len(text), "bytes": 3 * len(text), "tokens": tokens}}}
    assert compare(None, unigram_dir, {"ja": [text]})["texts"]["ja"]["tokens"] == {"after": after.num_tokens}


@pytest.mark.parametrize(
    ("name", "kept"), [("mistral-v1-32k", 1.0283), ("llm-jp-v3.1", 2.1232), ("llm-jp-v2.2-48k", 1.6194)]
)
def test_published_tokenizers(shared_data: Callable[[str], Path], name: str, kept: float) -> None:
    """A million characters of Japanese; others measured 0.95, 2.12 and 1.62 on text of the web."""
    documents = islice(read_documents(shared_data("corpus/ja_text/ja_text.jsonl.gz")), 600)
    texts = (document.text for document in documents)
    assert measure(shared_data(f"tokenizers/{name}"), texts).characters_per_token == pytest.approx(kept, abs=1e-3)


def test_which_file_decides(unigram_dir: Path, tmp_path: Path) -> None:
    assert tokenizer_file(unigram_dir).name == "tokenizer.json"
    (tmp_path / "spiece.model").write_bytes((unigram_dir / "tokenizer.model").read_bytes())
    assert tokenizer_file(tmp_path).name == "spiece.model"
    (tmp_path / "other.model").touch()
    with pytest.raises(InputFileError, match="has 2 SentencePiece models"):
        tokenizer_file(tmp_path)
    (tmp_path / "tokenizer.model").touch()
    assert tokenizer_file(tmp_path).name == "tokenizer.model"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "is not a tokenizer.json"),
        ("tokenizer.json", '{"model": 3}', "is not a tokenizer.json"),
        ("tokenizer.json", "[]", "is not a tokenizer.json"),
        ("tokenizer.model", "no model", "is not a SentencePiece model"),
        ("readme.txt", "", "has no tokenizer"),
    ],
)
def test_what_is_no_tokenizer(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputFileError, match=message):
        measure(tmp_path, ["a"])


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"tokenizer\.json does not exist"):
        measure(tmp_path / "tokenizer.json", ["a"])
    (tmp_path / "notes.txt").write_text("舟", encoding="utf-8")
    with pytest.raises(InputFileError, match=r"notes\.txt is not a tokenizer"):
        measure(tmp_path / "notes.txt", ["a"])
