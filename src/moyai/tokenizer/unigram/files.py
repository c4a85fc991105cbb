"""A Unigram vocabulary as a tokenizer's files: for SentencePiece and for Hugging Face, in the form of llm-jp's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moyai.tokenizer.sentencepiece.file import PieceType, SentencePieceModel
from moyai.tokenizer.sentencepiece.write import sentencepiece_bytes

_ROLES = {
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "mask_token": "<MASK>",
    "pad_token": "<PAD>",
    "cls_token": "<CLS>",
    "sep_token": "<SEP>",
}


def write_unigram_tokenizer(model: SentencePieceModel, out_dir: Path) -> None:
    """Write `tokenizer.model`, `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.

    Both libraries cut a text into the same ids, except that Hugging Face takes a special token for itself where it is
    written out in a text, and SentencePiece for ordinary text.  A ▁ in a text comes back as a space, and so does not
    survive; everything else does.

    Source: the files of llm-jp-tokenizer `hf/ver2.2`: normaliser, decoder and settings; <s> is put before a text, as
    in its later versions.
    """
    (out_dir / "tokenizer.model").write_bytes(sentencepiece_bytes(model))
    settings = {
        **_ROLES,
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for name, content in (
        ("tokenizer.json", _tokenizer_json(model)),
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", _ROLES),
    ):
        (out_dir / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _tokenizer_json(model: SentencePieceModel) -> dict[str, Any]:
    specials = [
        (i, piece.text)
        for i, piece in enumerate(model.pieces)
        if piece.type in (PieceType.UNKNOWN, PieceType.CONTROL)
    ]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": token, **flags} for i, token in specials],
        "normalizer": _sequence("normalizers", _replace(r"(?<!\n)^", "▁"), _replace(" ", "▁")),
        "pre_tokenizer": None,
        "post_processor": _begins_with("<s>", {token: i for i, token in specials}["<s>"]),
        "decoder": _sequence(
            "decoders", {"type": "ByteFallback"}, _replace("▁", " "), {"type": "Fuse"}, _replace(r"(?<!\n)^ ", "")
        ),
        "model": {
            "type": "Unigram",
            "unk_id": specials[0][0],
            "byte_fallback": True,
            "vocab": [[piece.text, piece.score] for piece in model.pieces],
        },
    }


def _sequence(key: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", key: list(parts)}


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _begins_with(token: str, id_: int) -> dict[str, Any]:
    def mark(type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def text(name: str, type_id: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    return {
        "type": "TemplateProcessing",
        "single": [mark(0), text("A", 0)],
        "pair": [mark(0), text("A", 0), mark(1), text("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [id_], "tokens": [token]}},
    }
