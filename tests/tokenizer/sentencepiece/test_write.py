from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from moyai.tokenizer.sentencepiece.file import Piece, PieceType, SentencePieceModel, read_sentencepiece
from moyai.tokenizer.sentencepiece.write import sentencepiece_bytes
from tiny import ENGLISH, JAPANESE, write_tiny_sentencepiece


def read_back(model: SentencePieceModel, directory: Path) -> SentencePieceModel:
    path = directory / "written.model"
    path.write_bytes(sentencepiece_bytes(model))
    return read_sentencepiece(path)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_trained_model_is_written_as_it_was(tmp_path: Path, kind: Literal["bpe", "unigram"]) -> None:
    write_tiny_sentencepiece(tmp_path, kind)
    model = read_sentencepiece(tmp_path / "tokenizer.model")
    assert read_back(model, tmp_path) == model
    theirs, ours = (
        SentencePieceProcessor(model_proto=content)
        for content in ((tmp_path / "tokenizer.model").read_bytes(), sentencepiece_bytes(model))
    )
    for text in (ENGLISH, JAPANESE, "  鱻\n<s> 12", ""):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == text
    for role in ("unk_id", "bos_id", "eos_id", "pad_id"):
        assert getattr(ours, role)() == getattr(theirs, role)()


@pytest.mark.parametrize("name", ["mistral-v1-32k/tokenizer.model", "llm-jp-v3.1/llm-jp-tokenizer-100k.ver3.1.model"])
def test_released_models_are_written_as_they_were(
    shared_data: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path = shared_data(f"tokenizers/{name}")
    model = read_sentencepiece(path)
    assert read_back(model, tmp_path) == model
    theirs = SentencePieceProcessor(model_file=str(path))
    ours = SentencePieceProcessor(model_proto=sentencepiece_bytes(model))
    text = JAPANESE + ENGLISH + "def f(x):\n    return x  # 𠮟る 👩‍👩‍👧"
    assert ours.encode(text) == theirs.encode(text)


def test_settings_of_a_model_are_written(tmp_path: Path) -> None:
    pieces = (Piece("<unk>", 0.0, PieceType.UNKNOWN), Piece("▁", -1.0, PieceType.NORMAL), Piece("a", -2.0, PieceType.NORMAL))
    for prefix in (True, False):
        for squeezes in (True, False):
            model = SentencePieceModel("unigram", pieces, prefix, squeezes, has_charsmap=False)
            assert read_back(model, tmp_path) == model
            library = SentencePieceProcessor(model_proto=sentencepiece_bytes(model))
            assert library.encode("a  a", out_type=str)[0] == ("▁" if prefix else "a")


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, min_size=1),
    scores=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
)
def test_any_pieces_and_scores(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], scores: list[float]
) -> None:
    kinds = [PieceType.UNKNOWN, PieceType.NORMAL, PieceType.CONTROL, PieceType.UNUSED, PieceType.USER_DEFINED]
    pieces = tuple(
        Piece(text, scores[i % len(scores)], kinds[i % len(kinds)]) for i, text in enumerate(texts)
    )
    model = SentencePieceModel("bpe", pieces, True, False, has_charsmap=False)
    assert read_back(model, tmp_path_factory.getbasetemp()) == model


def test_ids_of_unnamed_marks_are_none() -> None:
    pieces = (Piece("a", -2.0, PieceType.NORMAL), Piece("UNK", 0.0, PieceType.UNKNOWN))
    model = SentencePieceModel("unigram", pieces, False, False, has_charsmap=False)
    library = SentencePieceProcessor(model_proto=sentencepiece_bytes(model))
    assert (library.unk_id(), library.bos_id(), library.eos_id(), library.pad_id()) == (1, -1, -1, -1)
