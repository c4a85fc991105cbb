"""The bytes behind tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from moyai.errors import InputFileError
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.token_bytes import byte_to_char, readable, spelled_bytes


def test_all_256_bytes_go_there_and_back() -> None:
    table = byte_to_char()
    assert sorted(table) == list(range(256))
    assert set(table.values()) == set(pre_tokenizers.ByteLevel.alphabet()), "the tokenizers library's own stand-ins"
    for byte, char in table.items():
        assert spelled_bytes(char) == bytes([byte])


def test_the_tokenizer_spells_each_byte_by_its_stand_in(base_dir: Path) -> None:
    tokenizer = TextTokenizer(base_dir)
    ids = range(3, 259)  # behind the three special tokens
    assert {tokenizer.token_bytes(id_) for id_ in ids} == {bytes([byte]) for byte in range(256)}


@given(st.binary())
def test_any_bytes_survive(content: bytes) -> None:
    assert spelled_bytes("".join(byte_to_char()[byte] for byte in content)) == content


def test_special_tokens_are_their_own_text(base_dir: Path) -> None:
    assert TextTokenizer(base_dir).token_bytes(1) == b"<|im_start|>"
    assert spelled_bytes("<｜終｜>") == "<｜終｜>".encode()


def test_half_a_character_is_shown_as_bytes() -> None:
    assert readable("ãģĤ") == "あ"
    assert readable("ãģ") == "⟨E3 81⟩"


def test_an_id_beyond_the_vocabulary(base_dir: Path) -> None:
    with pytest.raises(InputFileError, match="has no id 9999"):
        TextTokenizer(base_dir).token_bytes(9999)
