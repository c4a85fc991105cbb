"""Marks between documents, special texts, templates: read from the checkpoint's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

from moyai.errors import InputFileError
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.vocabulary import read_vocabulary
from tiny import TEMPLATE, write_tiny_tokenizer
from tokenizer.conftest import FAMILIES, write_family


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


def test_bos_begins_a_document_where_only_the_tokenizer_itself_says_so(tmp_path: Path) -> None:
    """As in Llama 3, whose settings leave it to the post-processor."""
    path = write_family(tmp_path, "llama3") / "tokenizer.json"
    assert TextTokenizer(tmp_path).document_start == TextTokenizer(tmp_path).document_end
    own = Tokenizer.from_file(str(path))
    bos = own.token_to_id("<|begin_of_text|>")
    own.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", bos)]),
    ])  # fmt: skip
    own.save(str(path))
    assert TextTokenizer(tmp_path).document_start == bos == AutoTokenizer.from_pretrained(tmp_path)("舟").input_ids[0]
    assert TextTokenizer(tmp_path).document_end == own.token_to_id("<|eot_id|>")


def test_a_sentencepiece_model_adds_bos_where_its_settings_do_not_say(tmp_path: Path) -> None:
    path = write_family(tmp_path, "mistral-model") / "tokenizer_config.json"
    told = TextTokenizer(tmp_path).document_start
    settings = json.loads(path.read_text(encoding="utf-8"))
    del settings["add_bos_token"]
    path.write_text(json.dumps(settings), encoding="utf-8")
    assert TextTokenizer(tmp_path).document_start == told


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


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(tmp_path: Path, family: str) -> None:
    made = TextTokenizer(write_family(tmp_path, family))
    for text in ("", " ", "舟 boat", "  舟\n\n漣漪\x00🙂 ", "\n x"):
        ids, spelled = made.encode_with_bytes(text)
        assert ids == made.encode(text)
        assert len(ids) == len(spelled)
        assert b"".join(spelled) == text.encode("utf-8")


def test_composed_characters_are_the_bytes_of_a_text_that_is_composed(tmp_path: Path) -> None:
    made = TextTokenizer(write_family(tmp_path, "qwen"))
    assert b"".join(made.encode_with_bytes("か\u3099")[1]) == "が".encode()


def test_a_space_in_front_belongs_to_no_token_and_one_after_a_mark_neither(tmp_path: Path) -> None:
    made = TextTokenizer(write_family(tmp_path, "mistral"))
    assert b"".join(made.encode_with_bytes("舟</s>の")[1]) == "舟</s>の".encode()


@pytest.mark.parametrize("family", ["mistral", "llm-jp"])
def test_a_checkpoint_with_a_sentencepiece_model_alone(tmp_path: Path, family: str) -> None:
    whole, alone = write_family(tmp_path / "whole", family), write_family(tmp_path / "alone", f"{family}-model")
    for text in ("舟 boat", "  二つ\n", "", "漣漪🙂"):
        assert TextTokenizer(alone).encode(text) == TextTokenizer(whole).encode(text)
    assert TextTokenizer(alone).document_start == TextTokenizer(whole).document_start


def test_half_a_character_is_refused_in_one_sentence(tmp_path: Path) -> None:
    made = tokenizer(tmp_path)
    for encode in (made.encode, lambda text: made.encode_batch(["x", text]), made.encode_with_bytes):
        with pytest.raises(InputFileError, match=r"^a text has half a character, \\ud83d without its other half$"):
            encode("a\ud83d")


def test_limits_that_are_saved_with_a_tokenizer_neither_cut_nor_pad(tmp_path: Path) -> None:
    made, text = tokenizer(tmp_path), "The boat 舟 " * 20
    expected, path = made.encode(text), tmp_path / "tokenizer.json"
    saved = Tokenizer.from_file(str(path))
    saved.enable_truncation(4)
    saved.enable_padding(length=8)
    saved.save(str(path))
    again = TextTokenizer(tmp_path)
    assert again.encode(text) == expected
    assert again.encode_batch([text, ""]) == [expected, []]
    assert again.encode_with_offsets(text)[0] == expected
    assert read_vocabulary(tmp_path).tokenizer.encode(text).ids == expected
