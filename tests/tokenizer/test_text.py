"""Marks between documents, special texts, templates: read from the checkpoint's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moyai.errors import InputFileError
from moyai.tokenizer.text import TextTokenizer
from tiny import TEMPLATE, write_tiny_tokenizer


def tokenizer(directory: Path, **changes: Any) -> TextTokenizer:
    directory.mkdir(exist_ok=True)
    write_tiny_tokenizer(directory)
    path = directory / "tokenizer_config.json"
    settings = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not ...}), encoding="utf-8")
    return TextTokenizer(directory)


def test_nothing_is_added_to_a_text(tmp_path: Path) -> None:
    made = tokenizer(tmp_path)
    assert made.encode("") == []
    assert made.encode_batch(["舟", "", "boat"]) == [made.encode("舟"), [], made.encode("boat")]
    assert made.num_ids == len(json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])


def test_marks_around_documents(tmp_path: Path) -> None:
    made = tokenizer(tmp_path / "a")
    assert (made.document_start, made.document_end) == (0, 0), "<|endoftext|> where there is one"
    made = tokenizer(tmp_path / "b", add_bos_token=True)
    assert (made.document_start, made.document_end) == (1, 0), "bos where the tokenizer adds it"
    made = tokenizer(tmp_path / "c", add_bos_token=True, bos_token={"content": "<|im_end|>", "special": True})
    assert made.document_start == 2


def test_a_tokenizer_without_any_mark(tmp_path: Path) -> None:
    made = tokenizer(tmp_path, eos_token=..., bos_token=...)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|endoftext|>", "<|other|>"), encoding="utf-8")
    with pytest.raises(InputFileError, match="no mark between documents"):
        _ = TextTokenizer(made.checkpoint_dir).document_start


def test_offsets_cover_the_characters(tmp_path: Path) -> None:
    made = tokenizer(tmp_path)
    text = "The boat 舟"
    ids, offsets = made.encode_with_offsets(text)
    assert ids == made.encode(text)
    assert {place for start, stop in offsets for place in range(start, stop)} == set(range(len(text)))


def test_special_texts_and_template(tmp_path: Path) -> None:
    made = tokenizer(tmp_path / "a", pad_token=..., bos_token={"content": "<|im_start|>"})
    assert made.special_texts["bos_token"] == "<|im_start|>"
    assert made.special_texts["pad_token"] == ""
    assert made.chat_template == TEMPLATE
    (tmp_path / "a" / "chat_template.jinja").write_text("its own file counts first", encoding="utf-8")
    assert TextTokenizer(tmp_path / "a").chat_template == "its own file counts first"
    with pytest.raises(InputFileError, match="has no chat template"):
        _ = tokenizer(tmp_path / "b", chat_template=...).chat_template


def test_a_checkpoint_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"has no tokenizer\.json"):
        TextTokenizer(tmp_path).encode("x")
