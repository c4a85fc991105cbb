"""A SentencePiece model as `tokenizer.json`, in the form in which Llama 2, Mistral and llm-jp release theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moyai.errors import InputFileError
from moyai.tokenizer.sentencepiece.file import PieceType, SentencePieceModel
from moyai.tokenizer.token_bytes import SPACE

_ADDED = {PieceType.CONTROL, PieceType.UNKNOWN, PieceType.USER_DEFINED}

PREFIXES = (
    {"type": "Prepend", "prepend": SPACE},
    {"type": "Replace", "pattern": {"Regex": r"(?<!\n)^"}, "content": SPACE},
)
"""What puts a space before a text: Llama's and llm-jp's way to write it."""
SPACES = tuple({"type": "Replace", "pattern": {kind: " "}, "content": SPACE} for kind in ("String", "Regex"))
"""What makes ▁ of a space."""


def json_of_model(model: SentencePieceModel, added: Mapping[str, int], *, bos: str | None, where: str) -> dict[str, Any]:
    """The content of a `tokenizer.json` that cuts text as this `tokenizer.model` does.

    Args:
        model: the parsed file.
        added: special tokens that the checkpoint has besides, by their id.
        bos: the token put before a text, if one is.
        where: the file, for messages.

    Raises:
        InputFileError: the model has no byte fallback, replaces characters or squeezes spaces, or a user-defined
            piece of it has a space in it.
    """
    if model.has_charsmap or model.removes_extra_spaces or not model.has_byte_fallback:
        raise InputFileError(
            f"{where} has no byte fallback, or it replaces characters or squeezes spaces, and there is no tokenizer.json",
            hint="only a SentencePiece model that gives every text back byte for byte can stand alone",
        )
    ids = {piece.text: number for number, piece in enumerate(model.pieces)}
    special = {piece.text: ids[piece.text] for piece in model.pieces if piece.type in _ADDED}
    user_defined = {piece.text for piece in model.pieces if piece.type == PieceType.USER_DEFINED}
    spaced = sorted(text for text in user_defined if SPACE in text)
    if spaced:
        raise InputFileError(
            f"{where} has spaces in user-defined pieces such as {spaced[0]!r}, and there is no tokenizer.json",
            hint="fetch the tokenizer.json of the same release",
        )
    tokens = sorted((special | dict(added)).items(), key=lambda item: item[1])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(text, id_, is_special=text not in user_defined) for text, id_ in tokens],
        **sentencepiece_steps(adds_prefix=model.adds_dummy_prefix),
        "post_processor": _starting_with(bos, {**ids, **added}),
        "model": _bpe(model, added) if model.kind == "bpe" else _unigram(model),
    }


def sentencepiece_steps(*, adds_prefix: bool) -> dict[str, Any]:
    """How a text is prepared and put together again: a space becomes ▁, and one is put before the text or not."""
    prefix = [{"type": "Prepend", "prepend": SPACE}] if adds_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if adds_prefix else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, _replace(" ", SPACE)]},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
    }


def split_merges(ordered: Iterable[str], parts: frozenset[str] | set[str]) -> list[list[str]]:
    """Every way to join two of `parts` into one of `ordered`, the first of these first.

    Of the splits of one piece those with the longer left half come first: where two of them overlap in a text,
    that takes the one on the left, as SentencePiece does.

    >>> split_merges(["abc"], {"a", "b", "c", "ab", "bc"})
    [['ab', 'c'], ['a', 'bc']]
    """
    return [
        [piece[:cut], piece[cut:]]
        for piece in ordered
        for cut in range(len(piece) - 1, 0, -1)
        if piece[:cut] in parts and piece[cut:] in parts
    ]


def pieces_by_score(model: SentencePieceModel) -> list[str]:
    """The ordinary pieces in the order in which they are joined."""
    ordinary = [piece for piece in model.pieces if piece.type == PieceType.NORMAL]
    return [piece.text for piece in sorted(ordinary, key=lambda piece: -piece.score)]


def _bpe(model: SentencePieceModel, added: Mapping[str, int]) -> dict[str, Any]:
    ordered = pieces_by_score(model)
    unknown: Sequence[str] = [piece.text for piece in model.pieces if piece.type == PieceType.UNKNOWN]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown[0] if unknown else None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {piece.text: number for number, piece in enumerate(model.pieces)} | dict(added),
        "merges": split_merges(ordered, set(ordered)),
    }


def _unigram(model: SentencePieceModel) -> dict[str, Any]:
    unknown = [number for number, piece in enumerate(model.pieces) if piece.type == PieceType.UNKNOWN]
    return {
        "type": "Unigram",
        "unk_id": unknown[0] if unknown else None,
        "byte_fallback": True,
        "vocab": [[piece.text, piece.score] for piece in model.pieces],
    }


def added_token(content: str, id_: int, *, is_special: bool = True) -> dict[str, Any]:
    """An entry of `added_tokens`: a mark, or a text that is always one token; nothing around it is taken with it."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id_, "content": content, **flags, "special": is_special}


def _replace(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _starting_with(bos: str | None, ids: Mapping[str, int]) -> dict[str, Any] | None:
    if bos is None or bos not in ids:
        return None

    def framed(sequence: str, type_id: int) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": bos, "type_id": type_id}}, {"Sequence": {"id": sequence, "type_id": type_id}}]

    return {
        "type": "TemplateProcessing",
        "single": framed("A", 0),
        "pair": framed("A", 0) + framed("B", 1),
        "special_tokens": {bos: {"id": bos, "ids": [ids[bos]], "tokens": [bos]}},
    }
