"""Vocabulary extension: new pieces on top, nothing underneath changes; the same for each family."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from moyai.errors import InputFileError, UserError
from moyai.tokenizer.extension.extend import Extension, learn_extension, write_extended
from moyai.tokenizer.extension.extended_vocabulary import extended_vocabulary
from moyai.tokenizer.extension.reachable import unreachable
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.token_bytes import spelled_bytes
from moyai.tokenizer.vocabulary import read_vocabulary
from tiny import ENGLISH
from tokenizer.conftest import BYTE_LEVEL, FAMILIES, MARKS, NUM_PIECES, write_family

Extended = Callable[[str], tuple[Path, Path, Extension]]

CODE = "def f(x: int) -> int:\n    return x ** 2  # 1,234.5\n\n\tif a != b: print('no')\n"
# Any Unicode text, and texts near what the pieces were learnt on.
_loaded = cache(TextTokenizer)  # with its tokenizer, over all examples
texts = st.one_of(
    st.text(),
    st.text("のはをがでとにたしていますこれ、。一二三年月日本人 \n aThe12🙂é", max_size=60),
    st.text("ｶﾞﾊﾟアか\u3099\u0301👩\u200d🏽▁　\t\x00\x01\x7f\x80\xff", max_size=20),
)
families = pytest.mark.parametrize("family", FAMILIES)
# The fixture makes each family once; examples share it.
_settings = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@families
def test_exactly_as_many_pieces_as_asked_for(extended_family: Extended, family: str) -> None:
    base_dir, extended_dir, extension = extended_family(family)
    base, extended = read_vocabulary(base_dir), read_vocabulary(extended_dir)
    assert extended.num_ids == base.num_ids + NUM_PIECES
    assert extended.tokens[base.num_ids :] == list(extension.pieces), "pieces stand in the order of their ids"
    assert len(set(extension.pieces) | set(base.ids)) == NUM_PIECES + len(base.ids)
    assert _loaded(extended_dir).num_ids == extended.num_ids


@families
def test_every_piece_can_come_out(extended_family: Extended, family: str) -> None:
    _, extended_dir, extension = extended_family(family)
    assert unreachable(read_vocabulary(extended_dir), extension.pieces) == []


def test_every_piece_comes_out_by_merges_where_a_word_is_taken_whole_without_them(
    tmp_path: Path, japanese: list[str]
) -> None:
    base = read_vocabulary(write_family(tmp_path, "llama3"))
    pieces = list(learn_extension(base, japanese, num_pieces=1000).pieces)
    extended = extended_vocabulary(base, pieces)
    extended.data["model"]["ignore_merges"] = False
    texts = {piece: spelled_bytes(piece).decode("utf-8", errors="replace") for piece in pieces}
    whole = [piece for piece, text in texts.items() if "\ufffd" not in text]
    found = extended.tokenizer.encode_batch([texts[piece] for piece in whole], add_special_tokens=False)
    assert [encoding.ids for encoding in found] == [[extended.ids[piece]] for piece in whole]


@families
def test_the_base_stays_as_it_was(extended_family: Extended, family: str) -> None:
    base_dir, extended_dir, _ = extended_family(family)
    base, extended = read_vocabulary(base_dir), read_vocabulary(extended_dir)
    assert base.ids.items() <= extended.ids.items()
    for key, value in base.data.items():
        assert key == "model" or extended.data[key] == value
    if base.family == "Unigram":
        assert extended.data["model"]["vocab"][: len(base.data["model"]["vocab"])] == base.data["model"]["vocab"]
    else:
        assert [merge for merge in extended.merges if merge in set(base.merges)] == base.merges
    if base.model_bytes:
        assert extended.model_bytes.startswith(base.model_bytes)
    untouched = {"tokenizer.json", "tokenizer.model"}
    for path in base_dir.iterdir():
        assert path.name in untouched or (extended_dir / path.name).read_bytes() == path.read_bytes()


@families
@_settings
@given(text=texts)
def test_any_text_is_spelled_by_the_same_bytes_and_never_by_more_tokens(
    extended_family: Extended, family: str, text: str
) -> None:
    base_dir, extended_dir, _ = extended_family(family)
    before, after = _loaded(base_dir), _loaded(extended_dir)
    if not family.startswith("llm-jp"):
        assert len(after.encode(text)) <= len(before.encode(text))
    ids, spelled = after.encode_with_bytes(text)
    prepared = unicodedata.normalize("NFC", text) if family == "qwen" else text
    prepared = prepared if family in BYTE_LEVEL else prepared.replace("▁", " ")
    assert b"".join(spelled) == prepared.encode("utf-8") == b"".join(before.encode_with_bytes(text)[1])
    assert len(ids) == len(spelled)


@families
@_settings
@given(text=st.text(st.characters(max_codepoint=0x7F)))
def test_ascii_is_never_cut_into_more(extended_family: Extended, family: str, text: str) -> None:
    base_dir, extended_dir, _ = extended_family(family)
    before, after = _loaded(base_dir).encode(text), _loaded(extended_dir).encode(text)
    assert len(after) <= len(before)
    assert after == before or not family.startswith("llm-jp"), "in Unigram nothing that is ASCII is cut otherwise"


@families
def test_japanese_takes_far_fewer_tokens_and_english_not_one_more(
    extended_family: Extended, family: str, japanese: list[str]
) -> None:
    base_dir, extended_dir, _ = extended_family(family)
    before, after = _loaded(base_dir), _loaded(extended_dir)
    assert len(after.encode("".join(japanese))) < 0.66 * len(before.encode("".join(japanese)))
    for text in (ENGLISH, CODE):
        assert len(after.encode(text)) <= len(before.encode(text))


@families
def test_digits_stay_alone_and_marks_are_whole(extended_family: Extended, family: str) -> None:
    base_dir, extended_dir, extension = extended_family(family)
    base = read_vocabulary(base_dir)
    for piece in extension.pieces:
        text = spelled_bytes(piece, base.spelling).decode("utf-8", errors="replace")
        assert len(text) == 1 or not any(unicodedata.category(char)[0] == "N" for char in text)
        assert " " not in text[1:] or text.isspace()
    after, before = _loaded(extended_dir), _loaded(base_dir)
    for mark, id_ in base.added_ids.items():
        assert id_ in after.encode(f"舟{mark}2026年")
        assert after.encode(mark) == before.encode(mark)
    assert after.encode("20261121") == before.encode("20261121")


@families
def test_a_space_before_a_digit_and_marks_on_it_stay_apart(tmp_path: Path, family: str, japanese: list[str]) -> None:
    base_dir, out_dir, numbered = write_family(tmp_path / "base", family), tmp_path / "out", "page 1 of 20, 1\ufe0f\u20e3\n"
    base = read_vocabulary(base_dir)
    extension = learn_extension(base, [*japanese, numbered * 500], num_pieces=NUM_PIECES)
    assert "\ufe0f\u20e3".encode() not in [spelled_bytes(piece, base.spelling) for piece in extension.pieces]
    out_dir.mkdir()
    write_extended(base, extension, out_dir)
    for text in (numbered, "page 1 of 20", "第 1 章　２ 3"):
        before, after = (
            [(id_, one) for id_, one in zip(*TextTokenizer(path).encode_with_bytes(text), strict=True) if _digits(one)]
            for path in (base_dir, out_dir)
        )
        assert after == before


def _digits(spelled: bytes) -> str:
    return "".join(char for char in spelled.decode("utf-8", "replace") if char.isdigit())


@families
def test_saved_and_loaded_again_it_gives_the_same_ids(
    extended_family: Extended, family: str, japanese: list[str]
) -> None:
    _, extended_dir, _ = extended_family(family)
    theirs, ours = AutoTokenizer.from_pretrained(extended_dir), _loaded(extended_dir)
    again = read_vocabulary(extended_dir).tokenizer
    for text in [*japanese[:20], ENGLISH, CODE, "12 345\n\n🙂<|im_end|>x", "  two  spaces "]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text)
        assert again.encode(text, add_special_tokens=False).ids == ours.encode(text)
        assert ours.encode_batch([text]) == [ours.encode(text)]


@families
def test_each_piece_is_spelled_by_the_base_ids_it_replaces(extended_family: Extended, family: str) -> None:
    base_dir, _, extension = extended_family(family)
    base = read_vocabulary(base_dir)
    for piece, ids in extension.pieces.items():
        assert len(ids) >= 2
        assert b"".join(base.bytes_of(id_) for id_ in ids) == spelled_bytes(piece, base.spelling)


@pytest.mark.parametrize("family", ["smollm2", "mistral", "llm-jp"])
def test_the_order_of_the_corpus_does_not_matter(
    extended_family: Extended, family: str, japanese: list[str]
) -> None:
    base_dir, _, extension = extended_family(family)
    shuffled = list(japanese)
    random.Random(1).shuffle(shuffled)
    assert learn_extension(read_vocabulary(base_dir), shuffled, num_pieces=NUM_PIECES) == extension


@pytest.mark.parametrize("family", ["smollm2", "mistral", "llm-jp"])
def test_an_extended_tokenizer_can_be_extended_again(
    extended_family: Extended, family: str, japanese: list[str], tmp_path: Path
) -> None:
    once = read_vocabulary(extended_family(family)[1])
    write_extended(once, learn_extension(once, japanese, num_pieces=50), tmp_path)
    twice = read_vocabulary(tmp_path)
    assert twice.num_ids == once.num_ids + 50
    assert once.ids.items() <= twice.ids.items()


@pytest.mark.parametrize("family", ["smollm2", "mistral", "llm-jp"])
def test_no_piece_is_longer_than_allowed(extended_family: Extended, family: str, japanese: list[str]) -> None:
    base = read_vocabulary(extended_family(family)[0])
    extension = learn_extension(base, japanese, num_pieces=80, max_characters=2)
    longest = max(len(spelled_bytes(piece, base.spelling).decode("utf-8", "replace")) for piece in extension.pieces)
    assert longest == 2


@pytest.mark.parametrize("family", ["smollm2", "mistral", "llm-jp"])
def test_a_corpus_that_is_too_small_is_an_error(tmp_path: Path, family: str) -> None:
    base = read_vocabulary(write_family(tmp_path, family))
    for small in ([], ["舟"], ["舟を寄せる。" * 3], ["plain English"]):
        with pytest.raises(UserError, match="new pieces that occur 2 times, not 50") as caught:
            learn_extension(base, small, num_pieces=50)
        assert "more text" in caught.value.hint


def test_steps_that_longer_pieces_swallow_count_where_there_is_nothing_else(tmp_path: Path) -> None:
    """漣, 漪 and 漣漪 are all that this text has; the first two never stand alone in it."""
    base = read_vocabulary(write_family(tmp_path, "mistral"))
    extension = learn_extension(base, ["、漣漪" * 9], num_pieces=3)
    assert set(extension.pieces) == {"漣", "漪", "漣漪"}


def test_a_pair_seen_too_seldom_is_no_piece(base_dir: Path) -> None:
    text = "舟" * 1 + "\n" + "港 " * 9
    extension = learn_extension(read_vocabulary(base_dir), [text], num_pieces=1, min_frequency=5)
    assert b"".join(spelled_bytes(piece) for piece in extension.pieces) in " 港".encode()


def test_half_a_character_is_refused(base_dir: Path) -> None:
    with pytest.raises(InputFileError, match=r"half a character, \\ud83d"):
        learn_extension(read_vocabulary(base_dir), ["舟\ud83d"], num_pieces=1)


def test_a_base_without_a_piece_for_a_byte_is_refused(tmp_path: Path, japanese: list[str]) -> None:
    base = read_vocabulary(write_family(tmp_path, "qwen"))
    model = base.data["model"]
    model["vocab"] = {token: id_ for token, id_ in model["vocab"].items() if "ã" not in token}
    model["merges"] = [merge for merge in model["merges"] if "ã" not in "".join(merge)]
    with pytest.raises(InputFileError, match=r"loses bytes of a text: it has no piece for 0xE3$"):
        learn_extension(base, japanese, num_pieces=1)


def test_added_tokens_outside_of_the_vocabulary_keep_their_ids(extended_family: Extended) -> None:
    base_dir, extended_dir, _ = extended_family("llama3")
    before = json.loads((base_dir / "tokenizer.json").read_text(encoding="utf-8"))
    assert not set(MARKS) & set(before["model"]["vocab"]), "the fixture is of the shape in question"
    for mark in MARKS:
        assert _loaded(extended_dir).encode(mark) == _loaded(base_dir).encode(mark)


def test_a_word_that_is_a_piece_is_taken_whole_where_merges_are_ignored(extended_family: Extended) -> None:
    _, extended_dir, extension = extended_family("llama3")
    data = json.loads((extended_dir / "tokenizer.json").read_text(encoding="utf-8"))
    assert data["model"]["ignore_merges"]
    tokenizer, vocabulary = _loaded(extended_dir), read_vocabulary(extended_dir)
    words = [piece for piece in extension.pieces if spelled_bytes(piece).decode("utf-8", "replace").isalpha()]
    assert words
    for word in words:
        text = spelled_bytes(word).decode("utf-8")
        assert tokenizer.encode(f"\n{text}")[1:] == [vocabulary.ids[word]]
