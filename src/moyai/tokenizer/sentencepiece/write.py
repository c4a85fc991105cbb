"""Writing a SentencePiece model from its pieces, in the wire format of protocol buffers.

Only the fields that decide how text is cut are written; the library takes its defaults for the others, which say how a
model was trained.

Source: `src/sentencepiece_model.proto` of SentencePiece.
"""

from __future__ import annotations

import struct

from moyai.tokenizer.sentencepiece.file import Piece, PieceType, SentencePieceModel

_KIND_NUMBERS = {"unigram": 1, "bpe": 2}


def sentencepiece_bytes(model: SentencePieceModel) -> bytes:
    """The content of a `tokenizer.model`; `read_sentencepiece` reads it back as it was, scores rounded to float32.

    The first piece of type UNKNOWN is the unknown token; <s> and </s> begin and end a text where they are control pieces.

    Args:
        model: one that replaces no characters, since what it replaces them by is not held.
    """
    assert not model.has_charsmap, "the table of replaced characters is not known"
    pieces = b"".join(piece_field(piece) for piece in model.pieces)
    return pieces + bytes_field(2, _trainer(model)) + bytes_field(3, _normalizer(model))


def piece_field(piece: Piece) -> bytes:
    """One entry of the vocabulary, as the file holds it."""
    text, kind = bytes_field(1, piece.text.encode()), number_field(3, piece.type)
    return bytes_field(1, text + _float(2, piece.score) + kind)


def _trainer(model: SentencePieceModel) -> bytes:
    ids = {piece.text: i for i, piece in enumerate(model.pieces) if piece.type == PieceType.CONTROL}
    unknown = next(i for i, piece in enumerate(model.pieces) if piece.type == PieceType.UNKNOWN)
    fields = [
        number_field(3, _KIND_NUMBERS[model.kind]),
        number_field(4, len(model.pieces)),
        number_field(35, model.has_byte_fallback),
        number_field(40, unknown),
        number_field(41, ids.get("<s>", -1)),
        number_field(42, ids.get("</s>", -1)),
        number_field(43, -1),
        bytes_field(45, model.pieces[unknown].text.encode()),
    ]
    return b"".join(fields)


def _normalizer(model: SentencePieceModel) -> bytes:
    fields = [
        bytes_field(1, b"identity"),
        bytes_field(2, b""),
        number_field(3, model.adds_dummy_prefix),
        number_field(4, model.removes_extra_spaces),
        number_field(5, 1),
    ]
    return b"".join(fields)


def number_field(field: int, value: int) -> bytes:
    """A number in a message."""
    # A negative number is written as its 64-bit two's complement.
    return _varint(field << 3) + _varint(value & (1 << 64) - 1)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def bytes_field(field: int, content: bytes) -> bytes:
    """A text or a message in a message."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    r"""A number in base 128, the lowest digits first.

    >>> _varint(300)
    b'\xac\x02'
    """
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
