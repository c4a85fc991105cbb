"""moyai show of tokenizers, alone and against each other on a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moyai.tokenizer.efficiency import measure
from tiny import write_tiny_sentencepiece, write_tiny_tokenizer


@pytest.fixture
def tokenizers(tmp_path: Path) -> tuple[Path, Path]:
    directories = tmp_path / "byte-level", tmp_path / "unigram"
    for directory in directories:
        directory.mkdir()
    write_tiny_tokenizer(directories[0])
    write_tiny_sentencepiece(directories[1], "unigram")
    return directories


@pytest.fixture
def text(tmp_path: Path) -> Path:
    rows = [
        {"text": "舟は桟橋に舫ってある。", "source": "book:1"},
        {"text": "綱", "source": "web:2"},
        {"text": "潮は二度。", "source": "book:3"},
    ]
    path = tmp_path / "ja.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_sentencepiece_model_and_a_directory_with_one(moyai: Any, tokenizers: tuple[Path, Path]) -> None:
    (tokenizers[1] / "tokenizer.json").unlink()
    for path in (tokenizers[1] / "tokenizer.model", tokenizers[1]):
        outcome = moyai("show", path, "--json")
        assert outcome.code == 0, outcome.err
        found = json.loads(outcome.out)
        assert (found["kind"], found["model"]) == ("tokenizer", "SentencePiece Unigram")
        assert found["byte_fallback"] is True


def test_a_text_by_domain_and_tokenizer(moyai: Any, tokenizers: tuple[Path, Path], text: Path) -> None:
    texts = ("--text", text, "--text", "starter:en_text")
    words = ("show", tokenizers[0], *texts, "--against", tokenizers[1] / "tokenizer.model")
    outcome = moyai(*words, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert [row["tokenizer"] for row in found["tokenizers"]] == ["byte-level", "unigram"]
    rows = {(row["text"], row["domain"]): row for row in found["characters_per_token"]}
    assert list(rows) == [("ja", "all"), ("ja", "book"), ("ja", "web"), ("en_text", "all")]
    first, second = (measure(each, ["舟は桟橋に舫ってある。", "潮は二度。"]) for each in tokenizers)
    assert rows["ja", "book"]["characters"] == 16
    assert rows["ja", "book"]["unigram"] == pytest.approx(second.characters_per_token, abs=1e-3)
    bytes_of_book = {(row["text"], row["domain"]): row for row in found["bytes_per_token"]}["ja", "book"]
    assert bytes_of_book["bytes"] == 48
    assert bytes_of_book["byte-level"] == pytest.approx(first.bytes_per_token, abs=1e-3)
    table = moyai(*words).out
    assert "book" in table
    assert "unigram" in table


def test_the_same_name_twice_is_told_apart(moyai: Any, tokenizers: tuple[Path, Path], text: Path) -> None:
    outcome = moyai("show", tokenizers[0], "--text", text, "--against", tokenizers[0] / "tokenizer.json", "--json")
    names = [row["tokenizer"] for row in json.loads(outcome.out)["tokenizers"]]
    assert names == [str(tokenizers[0]), str(tokenizers[0] / "tokenizer.json")]


def test_what_is_wrong_is_said(moyai: Any, tokenizers: tuple[Path, Path], text: Path) -> None:
    outcome = moyai("show", tokenizers[0], "--against", tokenizers[1])
    assert outcome.code == 2
    assert "none is given" in outcome.err
    assert "--text FILE" in outcome.err
    outcome = moyai("show", text, "--text", text)
    assert outcome.code == 2
    assert "is not a tokenizer" in outcome.err
    outcome = moyai("show", tokenizers[0], "--text", "none.jsonl")
    assert outcome.code == 2
    assert "none.jsonl does not exist" in outcome.err
