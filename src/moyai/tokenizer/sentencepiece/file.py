"""A `tokenizer.model`: the pieces, scores and settings of a SentencePiece model, read with distrust.

The file is one protocol buffer, `ModelProto`; the few fields that decide how text is cut are read here, and the
others are skipped, so that neither SentencePiece nor a protobuf library is needed.

Source: `src/sentencepiece_model.proto` of SentencePiece, and the wire format of protocol buffers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

from moyai.errors import InputFileError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KINDS: dict[int, Literal["unigram", "bpe"]] = {1: "unigram", 2: "bpe"}

_Value = int | bytes


class PieceType(IntEnum):
    """What a piece is for; the numbers are those of the file."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary, with ▁ for a space."""

    text: str
    score: float
    type: PieceType


@dataclass(frozen=True)
class SentencePieceModel:
    """The pieces in order of their ids, and how a text is prepared for them."""

    kind: Literal["unigram", "bpe"]
    pieces: tuple[Piece, ...]
    adds_dummy_prefix: bool
    """Whether a space is put before a text."""
    removes_extra_spaces: bool
    """Whether runs of spaces become one, and those around a text vanish."""
    has_charsmap: bool
    """Whether characters are replaced by others first (NFKC, for example)."""

    @property
    def has_byte_fallback(self) -> bool:
        """Whether a character that is no piece becomes the pieces of its bytes."""
        return sum(piece.type == PieceType.BYTE for piece in self.pieces) == 256


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """The SentencePiece model in a file.

    Raises:
        InputFileError: there is no such file, it is damaged, or the model is neither BPE nor Unigram.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputFileError(f"SentencePiece model {path} cannot be read: {error.strerror}") from None
    return parse_sentencepiece(content, path)


def parse_sentencepiece(content: bytes, path: Path) -> SentencePieceModel:
    """The SentencePiece model in these bytes, which `path` holds.

    Raises:
        InputFileError: they are damaged, or the model is neither BPE nor Unigram.
    """
    try:
        return _model(content, path)
    except (_DamagedError, UnicodeDecodeError) as error:
        raise InputFileError(
            f"{path} is not a SentencePiece model: {error}", hint="fetch the file again"
        ) from None


class _DamagedError(Exception):
    """The bytes are no message of the wire format, or a field has a value that it cannot have."""


def _model(content: bytes, path: Path) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, _Value] = {}
    normalizer: dict[int, _Value] = {}
    for number, value in _fields(content):
        if number == 1:
            pieces.append(_piece(_message(value), len(pieces)))
        elif number == 2:
            trainer |= _message(value)
        elif number == 3:
            normalizer |= _message(value)
    if not pieces:
        raise _DamagedError("it has no pieces")
    if len({piece.text for piece in pieces}) != len(pieces):
        raise _DamagedError("a piece stands in it twice")
    kind = trainer.get(3, 1)
    if kind not in _KINDS or trainer.get(24, 0) != 0:
        raise InputFileError(
            f"{path} has model_type {kind!r} and treat_whitespace_as_suffix {trainer.get(24, 0)!r};"
            " only BPE (2) and Unigram (1) with spaces before words are known"
        )
    return SentencePieceModel(
        kind=_KINDS[kind],
        pieces=tuple(pieces),
        adds_dummy_prefix=bool(normalizer.get(3, 1)),
        removes_extra_spaces=bool(normalizer.get(4, 1)),
        has_charsmap=bool(normalizer.get(2, b"")),
    )


def _piece(fields: dict[int, _Value], index: int) -> Piece:
    text, score, kind = fields.get(1), fields.get(2, bytes(4)), fields.get(3, PieceType.NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or len(score) != 4:
        raise _DamagedError(f"piece {index} has no text, or a score that is no float32")
    number = struct.unpack("<f", score)[0]
    if not text or not math.isfinite(number) or kind not in set(PieceType):
        raise _DamagedError(f"piece {index} is {text!r} with the score {number} and the type {kind!r}")
    return Piece(text.decode("utf-8"), number, PieceType(kind))


def _message(value: _Value) -> dict[int, _Value]:
    """The fields of an embedded message; of a repeated one the last."""
    if not isinstance(value, bytes):
        raise _DamagedError("a message is a number")
    return dict(_fields(value))


def _fields(content: bytes) -> Iterator[tuple[int, _Value]]:
    """Number and value of each field; texts, messages and fixed-width numbers as their bytes."""
    position = 0
    while position < len(content):
        key, position = _varint(content, position)
        wire_type = key & 7
        if wire_type == _VARINT:
            value, position = _varint(content, position)
            yield key >> 3, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(content, position)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise _DamagedError(f"byte {position - 1} begins a field of the unknown type {wire_type}")
        if size > len(content) - position:
            raise _DamagedError(f"it ends within a field of {size} bytes")
        yield key >> 3, content[position : position + size]
        position += size


def _varint(content: bytes, start: int) -> tuple[int, int]:
    """A number in base 128, the lowest digits first, and where it ends."""
    value = 0
    for position in range(start, min(start + 10, len(content))):
        value |= (content[position] & 0x7F) << 7 * (position - start)
        if content[position] < 0x80:
            return value, position + 1
    raise _DamagedError(f"the number at byte {start} does not end")
