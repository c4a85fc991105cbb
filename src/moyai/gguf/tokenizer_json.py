"""A vocabulary as `tokenizer.json`, in the form that Hugging Face releases a tokenizer of its kind."""

from __future__ import annotations

from typing import Any

from gguf.constants import TokenType

from moyai.gguf.pretokenizer import PRE_TOKENIZERS
from moyai.gguf.vocabulary import Vocabulary
from moyai.tokenizer.sentencepiece.json_form import sentencepiece_steps, split_merges

ADDED_TYPES = {TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED}

_NUM_BYTES = 256


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of a `tokenizer.json` that cuts text as llama.cpp does with this vocabulary.

    Unused tokens at the end of the vocabulary pad the embedding only and stay out.  A Unigram vocabulary falls
    back to bytes where it has them, as its model was trained to, though llama.cpp does so for ASCII alone.
    """
    num_used = len(vocabulary.tokens)
    while num_used and vocabulary.types[num_used - 1] == TokenType.UNUSED:
        num_used -= 1
    used = list(enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)))[:num_used]
    own = _byte_level(vocabulary, num_used) if vocabulary.model == "gpt2" else _sentencepiece(vocabulary, num_used)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(i, token, kind) for i, (token, kind) in used if kind in ADDED_TYPES],
        "post_processor": _post_processor(vocabulary),
        **own,
    }


def _added_token(token_id: int, content: str, kind: TokenType) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, **flags, "special": kind != TokenType.USER_DEFINED}


def _byte_level(vocabulary: Vocabulary, num_used: int) -> dict[str, Any]:
    known = PRE_TOKENIZERS[vocabulary.pre]
    return {
        "normalizer": known.normalizer,
        "pre_tokenizer": known.json,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _bpe(vocabulary.tokens[:num_used], vocabulary.merges)
        | {"unk_token": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": known.ignore_merges},
    }


def _sentencepiece(vocabulary: Vocabulary, num_used: int) -> dict[str, Any]:
    tokens = vocabulary.tokens[:num_used]
    has_bytes = sum(kind == TokenType.BYTE for kind in vocabulary.types) == _NUM_BYTES
    unknown_id = vocabulary.special_ids["unk"]
    if vocabulary.model == "t5":
        model: dict[str, Any] = {
            "type": "Unigram",
            "unk_id": unknown_id,
            "byte_fallback": has_bytes,
            "vocab": [[token, score] for token, score in zip(tokens, vocabulary.scores, strict=False)],
        }
    else:
        model = _bpe(tokens, _merges(vocabulary))
        model |= {"unk_token": tokens[unknown_id], "fuse_unk": True, "byte_fallback": has_bytes, "ignore_merges": False}
    return {**sentencepiece_steps(adds_prefix=vocabulary.adds_space_prefix), "model": model}


def _bpe(tokens: tuple[str, ...], merges: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": [list(merge) for merge in merges],
    }


def _merges(vocabulary: Vocabulary) -> tuple[tuple[str, str], ...]:
    """Every way to join two pieces into a third, the third of the highest score first."""
    ordinary = {
        token: score
        for token, kind, score in zip(vocabulary.tokens, vocabulary.types, vocabulary.scores, strict=True)
        if kind == TokenType.NORMAL
    }
    merges = split_merges(sorted(ordinary, key=lambda piece: -ordinary[piece]), set(ordinary))
    return tuple((left, right) for left, right in merges)


def _post_processor(vocabulary: Vocabulary) -> dict[str, Any] | None:
    ends = {"bos": vocabulary.adds_bos, "eos": vocabulary.adds_eos}
    tokens = {role: vocabulary.tokens[vocabulary.special_ids[role]] for role, is_added in ends.items()
              if is_added and role in vocabulary.special_ids}  # fmt: skip
    if not tokens:
        return None

    def framed(sequence: str, type_id: int) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"Sequence": {"id": sequence, "type_id": type_id}}]
        if "bos" in tokens:
            parts.insert(0, {"SpecialToken": {"id": tokens["bos"], "type_id": type_id}})
        if "eos" in tokens:
            parts.append({"SpecialToken": {"id": tokens["eos"], "type_id": type_id}})
        return parts

    return {
        "type": "TemplateProcessing",
        "single": framed("A", 0),
        "pair": framed("A", 0) + framed("B", 1),
        "special_tokens": {
            token: {"id": token, "ids": [vocabulary.special_ids[role]], "tokens": [token]}
            for role, token in tokens.items()
        },
    }
