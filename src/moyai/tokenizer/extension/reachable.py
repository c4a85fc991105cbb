"""Which pieces of a vocabulary can come out of it, found with the real tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from moyai.tokenizer.token_bytes import spelled_bytes
from moyai.tokenizer.vocabulary import BaseVocabulary

_LEADS = (*range(0xC2, 0xE0), *range(0xE1, 0xF0), 0xE0, *range(0xF0, 0xF5))
# SentencePiece puts a space before a text, but nothing behind a line break, which joins nothing either.
_LINE_BREAK = "\n"


def unreachable(vocabulary: BaseVocabulary, pieces: Iterable[str]) -> list[str]:
    """Those of `pieces` whose own text is not cut into the piece alone.

    A piece that is a part of a character has no text of its own: it is reachable if some character is cut into it
    and other tokens.  Where words that are pieces are taken whole without their merges (`ignore_merges`), a piece has
    to be reached by merges all the same, since it is to come out inside of longer words too.
    """
    vocabulary, pieces = _by_merges(vocabulary), list(pieces)
    cuts = cut_alone(vocabulary, pieces)
    missed = [piece for piece, ids in cuts.items() if ids != [vocabulary.ids[piece]]]
    for piece in pieces:
        if piece not in cuts:
            texts = _characters_with(spelled_bytes(piece, vocabulary.spelling))
            if all(vocabulary.ids[piece] not in ids for ids in _encode(vocabulary, texts)):
                missed.append(piece)
    return missed


def cut_alone(vocabulary: BaseVocabulary, pieces: Iterable[str]) -> dict[str, list[int]]:
    """What the text of each piece is cut into, where the piece is whole characters."""
    texts: dict[str, str] = {}
    for piece in pieces:
        with suppress(UnicodeDecodeError):
            texts[piece] = spelled_bytes(piece, vocabulary.spelling).decode("utf-8")
    before = "" if vocabulary.spelling == "byte-level" else _LINE_BREAK
    start = _encode(vocabulary, [before])[0]
    found = _encode(vocabulary, [before + text for text in texts.values()])
    return {
        piece: ids[len(start) :] if ids[: len(start)] == start else ids
        for piece, ids in zip(texts, found, strict=True)
    }


def _by_merges(vocabulary: BaseVocabulary) -> BaseVocabulary:
    model = vocabulary.data["model"]
    if not model.get("ignore_merges"):
        return vocabulary
    return replace(vocabulary, data={**vocabulary.data, "model": {**model, "ignore_merges": False}})


def _encode(vocabulary: BaseVocabulary, texts: Sequence[str]) -> list[list[int]]:
    encodings = vocabulary.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def _characters_with(part: bytes) -> list[str]:
    """Characters whose UTF-8 has these bytes in it; of long ones a few that differ beside them.

    >>> len(_characters_with("舟".encode()[:2])), "舟" in _characters_with("舟".encode()[1:])
    (64, True)
    """
    leads = [b""] if part[0] >= 0xC0 else [bytes([lead]) for lead in _LEADS]
    texts = []
    for lead in leads:
        first = (lead + part)[0]
        missing = (2 if first < 0xE0 else 3 if first < 0xF0 else 4) - len(lead) - len(part)
        if 0 <= missing <= 2:
            ends = [b"", *(bytes([end]) for end in range(0x80, 0xC0))]
            texts += [lead + part + b"\x80" * (missing - 1) + end for end in ends if len(end) == min(missing, 1)]
    decoded = (text.decode("utf-8", errors="replace") for text in texts)
    return [text for text in decoded if "\ufffd" not in text]
