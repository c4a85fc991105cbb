"""Vocabulary extension: new pieces on top, nothing underneath changes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from moyai.errors import InputFileError, UserError
from moyai.tokenizer.bpe_file import BpeFile
from moyai.tokenizer.extend import Extension, learn_extension
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.token_bytes import spelled_bytes
from tiny import ENGLISH
from tokenizer.conftest import NUM_PIECES

# Any Unicode text, and texts near what the pieces were learnt on.
texts = st.one_of(
    st.text(),
    st.text("のはをがでとにたしていますこれ、。一二三年月日本人 \n aThe12🙂é", max_size=60),
)


def both(base_dir: Path, extended_dir: Path, text: str) -> tuple[list[int], list[int]]:
    return TextTokenizer(base_dir).encode(text), TextTokenizer(extended_dir).encode(text)


def spelled(directory: Path, ids: list[int]) -> bytes:
    tokenizer = TextTokenizer(directory)
    return b"".join(tokenizer.token_bytes(id_) for id_ in ids)


def test_exactly_as_many_pieces_as_asked_for(base_dir: Path, extended_dir: Path, extension: Extension) -> None:
    base, extended = BpeFile.read(base_dir), BpeFile.read(extended_dir)
    new = {token: id_ for token, id_ in extended.vocab.items() if token not in base.vocab}
    assert len(extension.pieces) == len(new) == NUM_PIECES
    assert sorted(new.values()) == list(range(base.num_ids, base.num_ids + NUM_PIECES))
    assert list(extension.pieces) == sorted(new, key=lambda token: new[token]), "pieces stand in the order of their ids"


def test_the_base_stays_as_it_was(base_dir: Path, extended_dir: Path) -> None:
    base, extended = BpeFile.read(base_dir), BpeFile.read(extended_dir)
    assert all(extended.vocab[token] == id_ for token, id_ in base.vocab.items())
    assert extended.merges[: len(base.merges)] == base.merges
    assert {key: value for key, value in extended.data.items() if key != "model"} == {
        key: value for key, value in base.data.items() if key != "model"
    }


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_any_text_is_spelled_by_the_same_bytes_and_never_by_more_tokens(
    base_dir: Path, extended_dir: Path, text: str
) -> None:
    before, after = both(base_dir, extended_dir, text)
    assert len(after) <= len(before)
    assert spelled(extended_dir, after) == spelled(base_dir, before) == text.encode("utf-8")
    tokenizer = Tokenizer.from_file(str(extended_dir / "tokenizer.json"))
    assert tokenizer.decode(after, skip_special_tokens=False) == text


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_new_pieces_only_join_what_the_base_had_cut(base_dir: Path, extended_dir: Path, text: str) -> None:
    before, after = both(base_dir, extended_dir, text)
    cuts_before = {len(spelled(base_dir, before[:count])) for count in range(len(before) + 1)}
    cuts_after = {len(spelled(extended_dir, after[:count])) for count in range(len(after) + 1)}
    assert cuts_after <= cuts_before


def test_each_piece_is_spelled_by_the_base_ids_it_replaces(base_dir: Path, extension: Extension) -> None:
    tokenizer = TextTokenizer(base_dir)
    for piece, ids in extension.pieces.items():
        assert len(ids) >= 2
        assert b"".join(tokenizer.token_bytes(id_) for id_ in ids) == spelled_bytes(piece)


def test_every_merge_can_fire(base_dir: Path, extended_dir: Path, extension: Extension) -> None:
    """Rank by rank, each merge joins two tokens that exist by then into one that exists.

    Whether a piece ever survives into an encoding depends on what stands around it (a longer piece may swallow it,
    the pre-tokenizer may cut inside), so the encodings themselves are checked below, on the corpus.
    """
    vocab = BpeFile.read(extended_dir).vocab
    spelling = {id_: token for token, id_ in vocab.items()}
    reachable = set(BpeFile.read(base_dir).vocab)
    for left, right in extension.merges:
        assert left in reachable
        assert right in reachable
        reachable.add(left + right)
    assert set(spelling.values()) <= reachable


def test_nearly_every_piece_is_used_when_its_own_bytes_are_encoded(
    base_dir: Path, extended_dir: Path, extension: Extension, japanese: list[str]
) -> None:
    """A piece is live if its own text is that one token, or if some text of the corpus uses it.

    The rest are steps on the way to a longer piece that always swallows them, which BPE cannot avoid: each of them
    must be a part of a merge.
    """
    tokenizer = TextTokenizer(extended_dir)
    vocab = BpeFile.read(extended_dir).vocab
    used = {id_ for ids in tokenizer.encode_batch(japanese) for id_ in ids}
    parts = {side for merge in extension.merges for side in merge}
    steps = 0
    for piece in extension.pieces:
        try:
            alone = tokenizer.encode(spelled_bytes(piece).decode("utf-8")) == [vocab[piece]]
        except UnicodeDecodeError:
            alone = False  # half a character has no text of its own
        if not alone and vocab[piece] not in used:
            assert piece in parts, f"{piece} can never be seen"
            steps += 1
    assert steps <= NUM_PIECES // 10


def test_japanese_takes_far_fewer_tokens_and_english_not_one_more(
    base_dir: Path, extended_dir: Path, japanese: list[str]
) -> None:
    before, after = both(base_dir, extended_dir, "".join(japanese))
    assert len(after) < 0.6 * len(before)
    assert both(base_dir, extended_dir, ENGLISH)[0] == both(base_dir, extended_dir, ENGLISH)[1]


def test_the_order_of_the_corpus_does_not_matter(base_dir: Path, extension: Extension, japanese: list[str]) -> None:
    shuffled = list(japanese)
    random.Random(1).shuffle(shuffled)
    again = learn_extension(BpeFile.read(base_dir), shuffled, num_pieces=NUM_PIECES, min_frequency=2)
    assert again == extension


def test_a_corpus_that_is_too_small_is_an_error(base_dir: Path) -> None:
    for small in ([], ["舟"], ["舟を寄せる。" * 3]):
        with pytest.raises(UserError, match="new pieces that occur 2 times, not 50") as caught:
            learn_extension(BpeFile.read(base_dir), small, num_pieces=50, min_frequency=2)
        assert "more text" in caught.value.hint


def test_a_pair_seen_too_seldom_is_no_piece(base_dir: Path) -> None:
    text = "舟" * 1 + "\n" + "港 " * 9
    extension = learn_extension(BpeFile.read(base_dir), [text], num_pieces=1, min_frequency=5)
    assert b"".join(spelled_bytes(piece) for piece in extension.pieces) in " 港".encode()


def test_an_extended_tokenizer_can_be_extended_again(extended_dir: Path, japanese: list[str]) -> None:
    once = BpeFile.read(extended_dir)
    twice = once.extended(learn_extension(once, japanese, num_pieces=50, min_frequency=2).merges)
    assert twice.num_ids == once.num_ids + 50
    assert set(once.vocab.items()) <= set(twice.vocab.items())


def test_transformers_reads_the_same_ids(extended_dir: Path, japanese: list[str]) -> None:
    theirs = AutoTokenizer.from_pretrained(extended_dir)
    ours = TextTokenizer(extended_dir)
    for text in [*japanese[:20], ENGLISH, "12 345\n\n🙂<|im_end|>x", "  two  spaces "]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text)
    assert len(theirs) == ours.num_ids


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no tokenizer.json"),
        ("{", "is not JSON"),
        (json.dumps({"model": {"type": "Unigram"}}), "not a byte-level BPE"),
        ('{"model": {"type": "BPE", "byte_fallback": true}, "decoder": {"type": "ByteLevel"}}', "not a byte-level BPE"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputFileError, match=said):
        BpeFile.read(tmp_path)
