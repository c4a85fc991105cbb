"""Word boundaries for learning."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest

from moyai.errors import UserError
from moyai.tokenizer.extension.extend import learn_extension
from moyai.tokenizer.extension.segment import JapaneseWords
from moyai.tokenizer.vocabulary import read_vocabulary
from tokenizer.conftest import write_family


def words(text: str) -> list[str]:
    begins = [*sorted({0, *JapaneseWords()(text)}), len(text)]
    return [text[start:stop] for start, stop in pairwise(begins)]


def test_words_are_the_dictionarys_longest() -> None:
    pytest.importorskip("sudachipy")
    assert words("国際連合に行きました。") == ["国際連合", "に", "行き", "まし", "た", "。"]


def test_no_word_begins_inside_of_ascii() -> None:
    pytest.importorskip("sudachipy")
    assert words("GetName関数") == ["GetName", "関数"]


def test_long_texts_are_cut_at_sentence_ends() -> None:
    pytest.importorskip("sudachipy")
    text = "舟を寄せる。" * 5000
    assert words(text) == ["舟", "を", "寄せる", "。"] * 5000
    assert len(words("あ" * 20_000)) > 1


def test_no_piece_straddles_a_word(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("sudachipy")
    base = read_vocabulary(write_family(tmp_path_factory.mktemp("mistral"), "mistral"))
    text = "国際連合に行きました。" * 30
    plain = learn_extension(base, [text], num_pieces=9)
    assert any("に" in piece and len(piece) > 1 for piece in plain.pieces)
    cut = learn_extension(base, [text], num_pieces=9, segmentation="words")
    assert "行き" in cut.pieces
    assert not any("に" in piece for piece in cut.pieces if len(piece) > 1)


def test_without_the_segmenter_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    with pytest.raises(UserError, match="Japanese words need sudachipy") as caught:
        JapaneseWords()
    assert caught.value.hint == "pip install 'moyai[corpus]'"
