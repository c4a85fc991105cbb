"""The raw bytes behind each token, in the spelling of its vocabulary.

Bytes are read from the vocabulary's own spelling, never through `str`: a token may hold half a character, and
decoding it alone would turn those bytes into U+FFFD and spoil every per-byte figure.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

from moyai.errors import InputFileError

Spelling = Literal["byte-level", "sentencepiece"]
"""How a vocabulary writes bytes: each by a stand-in character (GPT-2), or as text with ▁ for a space (SentencePiece)."""

SPACE = "▁"
"""SentencePiece's space, U+2581."""

_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")


@cache
def byte_to_char() -> dict[int, str]:
    """The 256 printable stand-ins in which byte-level BPE spells bytes.

    Source: GPT-2's `bytes_to_unicode`: printable Latin-1 stands for itself, the rest moves up from U+0100.

    >>> byte_to_char()[ord("a")], byte_to_char()[ord(" ")]
    ('a', 'Ġ')
    """
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in set(itself)]
    return {byte: chr(byte) for byte in itself} | {byte: chr(256 + rank) for rank, byte in enumerate(moved)}


@cache
def _char_to_byte() -> dict[str, int]:
    return {char: byte for byte, char in byte_to_char().items()}


def spelled_bytes(token: str, spelling: Spelling = "byte-level") -> bytes:
    r"""The bytes that a vocabulary entry spells; an entry that is no byte spelling (a special token) is its UTF-8.

    >>> spelled_bytes("ãģĤ").decode()
    'あ'
    >>> spelled_bytes("<|im_start|>")
    b'<|im_start|>'
    >>> spelled_bytes("▁あ", "sentencepiece").decode(), spelled_bytes("<0xE3>", "sentencepiece")
    (' あ', b'\xe3')
    """
    if spelling == "sentencepiece":
        value = byte_piece_value(token)
        return token.replace(SPACE, " ").encode("utf-8") if value is None else bytes([value])
    table = _char_to_byte()
    try:
        return bytes(table[char] for char in token)
    except KeyError:
        return token.encode("utf-8")


def byte_piece_value(token: str) -> int | None:
    """The byte that a SentencePiece fallback piece (`<0x0A>`) stands for; None for any other piece.

    >>> byte_piece_value("<0x0A>"), byte_piece_value("<0x0a>")
    (10, None)
    """
    found = _BYTE_PIECE.fullmatch(token)
    return int(found.group(1), 16) if found else None


def text_bytes(text: str) -> bytes:
    """A text in UTF-8.

    Raises:
        InputFileError: it holds half a surrogate pair, which no tokenizer can cut.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputFileError(
            f"a text has half a character, \\u{ord(text[error.start]):04x} without its other half",
            hint="remove it, or write the character whole",
        ) from None


def readable(token: str, spelling: Spelling = "byte-level") -> str:
    """A vocabulary entry as a person reads it; bytes that are not whole characters show as ⟨E3 81⟩."""
    spelled = spelled_bytes(token, spelling)
    try:
        return spelled.decode("utf-8")
    except UnicodeDecodeError:
        return f"⟨{spelled.hex(' ').upper()}⟩"
