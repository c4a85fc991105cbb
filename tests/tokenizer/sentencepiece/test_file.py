import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from moyai.errors import InputFileError
from moyai.tokenizer.sentencepiece.file import PieceType, SentencePieceModel, read_sentencepiece
from tiny import write_tiny_sentencepiece


def assert_is_what_the_library_reads(path: Path) -> SentencePieceModel:
    model, library = read_sentencepiece(path), SentencePieceProcessor(model_file=str(path))
    assert [piece.text for piece in model.pieces] == [library.id_to_piece(i) for i in range(len(library))]
    assert [piece.score for piece in model.pieces] == [library.get_score(i) for i in range(len(library))]
    for kind, is_kind in (
        (PieceType.UNKNOWN, library.is_unknown),
        (PieceType.CONTROL, library.is_control),
        (PieceType.UNUSED, library.is_unused),
        (PieceType.BYTE, library.is_byte),
    ):
        of_kind = [i for i, piece in enumerate(model.pieces) if piece.type == kind]
        assert of_kind == [i for i in range(len(library)) if is_kind(i)]
    return model


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_trained_model(tmp_path: Path, kind: Literal["bpe", "unigram"]) -> None:
    write_tiny_sentencepiece(tmp_path, kind)
    model = assert_is_what_the_library_reads(tmp_path / "tokenizer.model")
    assert model.kind == kind
    assert model.has_byte_fallback
    assert model.adds_dummy_prefix
    assert not model.removes_extra_spaces
    assert not model.has_charsmap


@pytest.mark.parametrize(
    ("name", "kind", "falls_back", "prepares"),
    [
        ("mistral-v1-32k/tokenizer.model", "bpe", True, False),
        ("mistral-v3-32k/tokenizer.model", "bpe", True, False),
        ("llm-jp-v3.1/llm-jp-tokenizer-100k.ver3.1.model", "unigram", True, False),
        ("rinna-japanese-gpt2/spiece.model", "unigram", False, True),
    ],
)
def test_released_models(
    shared_data: Callable[[str], Path], name: str, kind: str, falls_back: bool, prepares: bool
) -> None:
    model = assert_is_what_the_library_reads(shared_data(f"tokenizers/{name}"))
    assert (model.kind, model.has_byte_fallback) == (kind, falls_back)
    assert (model.removes_extra_spaces, model.has_charsmap) == (prepares, prepares)


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def piece(text: bytes, score: float = 0.0, kind: int = 1) -> bytes:
    return field(1, field(1, text) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))


def test_what_a_model_leaves_out_has_the_defaults_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(field(1, field(1, "あ".encode())))
    model = read_sentencepiece(path)
    assert (model.kind, model.adds_dummy_prefix, model.removes_extra_spaces) == ("unigram", True, True)
    assert [(p.text, p.score, p.type) for p in model.pieces] == [("あ", 0.0, PieceType.NORMAL)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no pieces"),
        (b"not a model at all", "is not a SentencePiece model"),
        (piece(b"a")[:-4], "ends within a field"),
        (piece(b"a") + piece(b"a"), "stands in it twice"),
        (piece(b""), "piece 0"),
        (piece(b"\xff"), "utf-8"),
        (piece(b"a", float("nan")), "piece 0"),
        (piece(b"a", kind=9), "piece 0"),
        (b"\x08\x01" + piece(b"a"), "a message is a number"),
        (b"\x0a" + b"\xff" * 11, "does not end"),
        (piece(b"a") + field(2, b"\x18\x03"), "model_type 3"),
        (piece(b"a") + field(2, b"\xc0\x01\x01"), "treat_whitespace_as_suffix 1"),
    ],
)
def test_a_damaged_or_unknown_model_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=message):
        read_sentencepiece(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="cannot be read"):
        read_sentencepiece(tmp_path / "tokenizer.model")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    write_tiny_sentencepiece(directory, "bpe")
    return directory / "tokenizer.model"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_told_or_harmless(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(trained.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.model"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        model = read_sentencepiece(path)
    except InputFileError:
        return
    assert model.pieces
