"""Training a Unigram vocabulary: counts are exact, nothing of an earlier stage goes, the files agree."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from moyai.corpus.reading.documents import read_documents
from moyai.errors import InputFileError, UserError
from moyai.progress import SilentProgress
from moyai.recipe.sources import corpus_file
from moyai.tokenizer.sentencepiece.file import PieceType, read_sentencepiece
from moyai.tokenizer.sentencepiece.write import sentencepiece_bytes
from moyai.tokenizer.unigram.borrowed import borrowed_pieces
from moyai.tokenizer.unigram.files import write_unigram_tokenizer
from moyai.tokenizer.unigram.layout import BYTE_TOKENS, FIXED_TOKENS, FLOOR_SCORE, LOWEST_SCORE, SPACE_RUNS, SPECIAL_TOKENS
from moyai.tokenizer.unigram.pruning import removal_costs
from moyai.tokenizer.unigram.scores import count_pieces, estimate_scores
from moyai.tokenizer.unigram.train import LanguageStage, TrainedUnigram, train_unigram
from tiny import ENGLISH, write_tiny_sentencepiece

MANDATORY = ("東京都", "▁moyai", "鱻")
NUM_ENGLISH, NUM_JAPANESE = 400, 900


def texts_of(name: str, split: str) -> list[str]:
    return [d.text for d in read_documents(corpus_file(name)) if d.split == split]


def train(**changes: int) -> TrainedUnigram:
    stages = [
        LanguageStage(texts_of("starter:en_text", "train"), changes.get("english", NUM_ENGLISH)),
        LanguageStage(texts_of("starter:ja_text", "train"), changes.get("japanese", NUM_JAPANESE), MANDATORY),
    ]
    return train_unigram(stages, borrowed={}, max_characters=8, progress=SilentProgress())


@pytest.fixture(scope="module")
def trained() -> TrainedUnigram:
    return train()


@pytest.fixture(scope="module")
def files(trained: TrainedUnigram, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unigram")
    write_unigram_tokenizer(trained.model, directory)
    return directory


@pytest.fixture(scope="module")
def hugging_face(files: Path) -> Tokenizer:
    return Tokenizer.from_file(str(files / "tokenizer.json"))


@pytest.fixture(scope="module")
def library(files: Path) -> SentencePieceProcessor:
    return SentencePieceProcessor(model_file=str(files / "tokenizer.model"))


def test_ids_are_in_the_fixed_order_and_pieces_exact(trained: TrainedUnigram) -> None:
    texts = [piece.text for piece in trained.model.pieces]
    assert texts[:280] == [*SPECIAL_TOKENS, *BYTE_TOKENS, *SPACE_RUNS]
    assert texts[8] == "<0x00>"
    assert texts[263:265] == ["<0xFF>", "▁" * 16]
    assert texts[280:] == [*trained.stage_pieces[0], *trained.stage_pieces[1]]
    assert [len(pieces) for pieces in trained.stage_pieces] == [NUM_ENGLISH, NUM_JAPANESE]
    assert len(set(texts)) == len(texts) == 280 + NUM_ENGLISH + NUM_JAPANESE


def test_pieces_that_must_be_there_are(trained: TrainedUnigram) -> None:
    assert set(MANDATORY) <= set(trained.stage_pieces[1])
    assert set(map(chr, range(0x21, 0x7F))) <= set(trained.stage_pieces[0])
    assert trained.num_unseen >= 1, "鱻 stands in no text"


def test_learnt_pieces_are_as_they_should_be(trained: TrainedUnigram) -> None:
    for pieces in trained.stage_pieces:
        for piece in set(pieces) - set(MANDATORY):
            assert len(piece) <= 8
            assert "▁" not in piece[1:]
            assert "\n" not in piece
            assert len(piece) == 1 or not any(char.isdigit() for char in piece)


def test_scores(trained: TrainedUnigram) -> None:
    scores = {piece.text: piece.score for piece in trained.model.pieces}
    assert [scores["▁" * length] for length in (16, 2, 1)] == [-127.5, -22.5, -15.0]
    assert min(scores.values()) == LOWEST_SCORE == scores["<s>"] == scores["<0x41>"]
    learnt = [scores[piece] for pieces in trained.stage_pieces for piece in pieces]
    assert all(FLOOR_SCORE <= score < 0 and (score * 64).is_integer() for score in learnt)
    assert sum(map(math.exp, learnt)) == pytest.approx(1, abs=0.1)
    # written out, a byte's token costs less as characters than as the token, and so is never taken for it
    assert all(sum(scores[char] for char in token) > scores[token] for token in BYTE_TOKENS)


def test_english_is_not_forgotten(trained: TrainedUnigram) -> None:
    """The pieces of the first stage are those that it has alone."""
    alone = train_unigram(
        [LanguageStage(texts_of("starter:en_text", "train"), NUM_ENGLISH)],
        borrowed={},
        max_characters=8,
        progress=SilentProgress(),
    )
    assert alone.stage_pieces[0] == trained.stage_pieces[0]


def test_once_more_is_the_same(trained: TrainedUnigram) -> None:
    assert sentencepiece_bytes(train().model) == sentencepiece_bytes(trained.model)


def test_more_pieces_make_fewer_tokens(library: SentencePieceProcessor) -> None:
    larger = SentencePieceProcessor(model_proto=sentencepiece_bytes(train(japanese=1600).model))
    texts = texts_of("starter:ja_text", "heldout")
    counts = [sum(map(len, each.encode(texts))) for each in (larger, library)]
    assert counts[0] < 0.97 * counts[1]
    assert sum(map(len, texts)) / counts[1] > 0.9, "less than a character a token would be bytes"


def test_borrowed_pieces_come_first_and_stay(tmp_path: Path) -> None:
    write_tiny_sentencepiece(tmp_path, "bpe")
    borrowed = borrowed_pieces(tmp_path / "tokenizer.model")
    theirs = read_sentencepiece(tmp_path / "tokenizer.model")
    ordinary = [p.text for p in theirs.pieces if p.type == PieceType.NORMAL and p.text not in FIXED_TOKENS]
    assert list(borrowed) == ordinary
    assert list(borrowed.values()) == sorted(borrowed.values(), reverse=True), "a probability falls with the rank"
    stage = LanguageStage(texts_of("starter:en_text", "train"), 200)
    trained = train_unigram([stage], borrowed=borrowed, max_characters=16, progress=SilentProgress())
    texts = [piece.text for piece in trained.model.pieces]
    assert texts[280 : 280 + len(ordinary)] == ordinary
    assert len(texts) == 280 + len(ordinary) + 200
    assert trained.num_borrowed == len(ordinary)


def test_borrowing_of_a_unigram_model_takes_its_scores(tmp_path: Path) -> None:
    write_tiny_sentencepiece(tmp_path, "unigram")
    pieces = read_sentencepiece(tmp_path / "tokenizer.model").pieces
    scores = {piece.text: piece.score for piece in pieces}
    assert all(scores[text] == score for text, score in borrowed_pieces(tmp_path / "tokenizer.model").items())


def test_what_cannot_be_trained() -> None:
    def stage(texts: list[str], num_pieces: int, mandatory: tuple[str, ...] = ()) -> TrainedUnigram:
        return train_unigram(
            [LanguageStage(texts, num_pieces, mandatory)], borrowed={}, max_characters=8, progress=SilentProgress()
        )

    with pytest.raises(UserError, match="94 mandatory pieces, more than the 10"):
        stage([ENGLISH], 10)
    with pytest.raises(UserError, match="96 mandatory pieces, more than the 95"):
        stage([ENGLISH], 95, ("東", "京"))
    with pytest.raises(UserError, match=r"yields \d+ new pieces, not 5000"):
        stage([ENGLISH], 5000)
    with pytest.raises(UserError, match="no text to learn"):
        stage([""], 200)


def test_more_characters_than_pieces() -> None:
    """The rarest are left to their bytes."""
    frequent, rare = "東京の舟" * 20, "".join(map(chr, range(0x4E00, 0x5E00)))
    trained = train_unigram(
        [LanguageStage([frequent, rare], 120)], borrowed={}, max_characters=4, progress=SilentProgress()
    )
    assert len(trained.model.pieces) == 400
    assert any("東京" in piece for piece in trained.stage_pieces[0])


def test_no_model_to_borrow_from(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="cannot be read"):
        borrowed_pieces(tmp_path / "tokenizer.model")


def test_estimated_scores_are_shares_of_the_best_cut() -> None:
    scores, counts = estimate_scores({"a": -1.0, "b": -1.0, "ab": -1.5, "zz": -3.0}, ["ab" * 3 + "a"], rounds=1)
    assert counts == {"a": 1, "b": 0, "ab": 3, "zz": 0}
    assert scores["ab"] == pytest.approx(math.log(3 / 4))
    assert scores["a"] == pytest.approx(math.log(1 / 4))
    assert scores["zz"] == scores["b"] == pytest.approx(math.log(0.5 / 4)), "unseen pieces stay in reach"


def test_the_cost_of_a_piece_is_what_its_texts_lose() -> None:
    scores = {"a": -2.0, "b": -3.0, "ab": -4.0, "c": -5.0}
    counts = count_pieces(scores, ["ab ab c"])
    costs = removal_costs(scores, counts, list(scores))
    assert counts == {"a": 0, "b": 0, "ab": 2, "c": 1}
    assert costs["ab"] == pytest.approx(2 * (-4.0 - -5.0))
    assert costs["c"] == pytest.approx(-5.0 - -12.0), "without it there is only its byte"
    assert costs["a"] == 0


MARKS = st.sampled_from(["<", ">", "0x", "0A", "<0x0A>", "<0xE3>", " ", "  ", "▁", "\n", "\r\n", "\t", "\0"])
TEXT = st.lists(
    MARKS
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.text(st.characters(min_codepoint=0x3041, max_codepoint=0x30FF), max_size=12)
    | st.text(st.sampled_from("日本語を書く、boat 123ｶﾞＡ𠮟👩‍👩‍👧\u3099é"), max_size=20),
    max_size=8,
).map("".join).filter(lambda text: not any(token in text for token in SPECIAL_TOKENS))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(text=TEXT)
@example(text="")
@example(text=" ")
@example(text="\n a\n  b\n")
@example(text=" " * 40 + "x" + " " * 17)
@example(text="<0x0A><0xFF>")
@example(text="\x00\x7f\x80ÿ\ufeff\uffff\U0010ffff")
def test_the_libraries_agree_and_text_comes_back(
    hugging_face: Tokenizer, library: SentencePieceProcessor, text: str
) -> None:
    ids = hugging_face.encode(text, add_special_tokens=False).ids
    assert ids == library.encode(text)
    back = text.replace("▁", " ")  # SentencePiece's sign for a space cannot be told from one
    assert hugging_face.decode(ids) == back
    assert library.decode(ids) == back


def test_long_texts_agree(hugging_face: Tokenizer, library: SentencePieceProcessor) -> None:
    for name in ("starter:ja_text", "starter:en_text"):
        text = "\n".join(texts_of(name, "train"))
        for start in range(0, len(text), 10_000):
            part = text[start : start + 10_000]
            assert hugging_face.encode(part, add_special_tokens=False).ids == library.encode(part)


def test_half_a_character_is_refused(hugging_face: Tokenizer, library: SentencePieceProcessor) -> None:
    with pytest.raises(TypeError):
        hugging_face.encode("a\ud83d")
    with pytest.raises(RuntimeError):
        library.encode("a\ud83d")


def test_transformers_reads_the_directory(files: Path, hugging_face: Tokenizer, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(files)
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id] == [1, 2, 4, 0]
    assert len(tokenizer) == 280 + NUM_ENGLISH + NUM_JAPANESE
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("舟は桟橋に舫ってある。\n二行目 ", ENGLISH, "", "<s>鱻</s>"):
        ids = tokenizer.encode(text)
        assert ids == again.encode(text) == [1, *hugging_face.encode(text, add_special_tokens=False).ids]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text.replace("<s>", "").replace("</s>", "")


def test_special_tokens_in_a_text_are_marks_to_hugging_face_alone(
    hugging_face: Tokenizer, library: SentencePieceProcessor
) -> None:
    assert hugging_face.encode("<EOD>", add_special_tokens=False).ids == [7]
    assert 7 not in library.encode("<EOD>")
    assert library.decode(library.encode("<EOD>")) == "<EOD>"


def test_the_form_of_the_published_tokenizer(shared_data: Callable[[str], Path], files: Path) -> None:
    """llm-jp's tokenizer.json: normaliser and decoder do the same, though a pattern may be written otherwise."""
    path = shared_data("tokenizers/llm-jp-v2.2-48k/tokenizer.json")
    theirs, ours = (json.loads(p.read_text(encoding="utf-8")) for p in (path, files / "tokenizer.json"))
    assert ours["normalizer"] == theirs["normalizer"]
    assert ours["pre_tokenizer"] is theirs["pre_tokenizer"] is None
    assert [part["type"] for part in ours["decoder"]["decoders"]] == [part["type"] for part in theirs["decoder"]["decoders"]]
    assert {key: ours["model"][key] for key in ("type", "unk_id", "byte_fallback")} == {
        key: theirs["model"][key] for key in ("type", "unk_id", "byte_fallback")
    }
