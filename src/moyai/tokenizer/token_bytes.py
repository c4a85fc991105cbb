"""The raw bytes behind each token of a byte-level BPE vocabulary.

Bytes are read from the vocabulary's own spelling, never through `str`: a token may hold half a character, and
decoding it alone would turn those bytes into U+FFFD and spoil every per-byte figure.
"""

from __future__ import annotations

from functools import cache


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


def spelled_bytes(token: str) -> bytes:
    """The bytes that a vocabulary entry spells; an entry that is no byte spelling (a special token) is its UTF-8.

    >>> spelled_bytes("ãģĤ").decode()
    'あ'
    >>> spelled_bytes("<|im_start|>")
    b'<|im_start|>'
    """
    table = _char_to_byte()
    try:
        return bytes(table[char] for char in token)
    except KeyError:
        return token.encode("utf-8")


def readable(token: str) -> str:
    """A vocabulary entry as a person reads it; bytes that are not whole characters show as ⟨E3 81⟩."""
    spelled = spelled_bytes(token)
    try:
        return spelled.decode("utf-8")
    except UnicodeDecodeError:
        return f"⟨{spelled.hex(' ').upper()}⟩"
