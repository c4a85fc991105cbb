"""A byte-level BPE vocabulary as GGUF metadata, and what both directions need to know of it.

Source: `src/llama-vocab.cpp` and `conversion/base.py` (`get_vocab_base`) of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf.constants import TokenType

from moyai.errors import InputFileError
from moyai.gguf.header import GgufHeader
from moyai.gguf.pretokenizer import pre_tokenizer_named

# Role of a special token -> key of its id in a GGUF.
SPECIAL_KEYS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "pad": "tokenizer.ggml.padding_token_id",
    "eot": "tokenizer.ggml.eot_token_id",
}


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in order of their ids, how they are merged, and which of them are special."""

    pre: str
    tokens: tuple[str, ...]
    """Ordinary tokens in byte-level spelling, added ones as they are."""
    types: tuple[TokenType, ...]
    merges: tuple[tuple[str, str], ...]
    special_ids: Mapping[str, int]
    """Role (a key of SPECIAL_KEYS) -> id."""
    adds_bos: bool
    adds_eos: bool
    chat_template: str | None


def read_vocabulary(header: GgufHeader) -> Vocabulary:
    """The vocabulary of a GGUF file.

    Raises:
        InputFileError: it is not byte-level BPE, its pre-tokenizer is not known, or it contradicts itself.
    """
    where, metadata = str(header.path), header.metadata
    model = text_value(metadata, "tokenizer.ggml.model", where)
    if model != "gpt2":
        raise InputFileError(
            f"{where} has tokenizer.ggml.model {model!r};"
            " only 'gpt2' (byte-level BPE) can be read, others not yet",
            hint="take the Hugging Face checkpoint of this model instead of its GGUF",
        )
    pre = text_value(metadata, "tokenizer.ggml.pre", where)
    known = pre_tokenizer_named(pre, where=where)
    tokens = _texts(metadata, "tokenizer.ggml.tokens", where)
    if len(set(tokens)) != len(tokens):
        raise InputFileError(f"{where} has a token twice in tokenizer.ggml.tokens")
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise InputFileError(f"{where} has a tokenizer.chat_template that is not text")
    return Vocabulary(
        pre=pre,
        tokens=tokens,
        types=_types(metadata, len(tokens), where),
        merges=_merges(metadata, set(tokens), where),
        special_ids=_special_ids(metadata, len(tokens), where),
        adds_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", known.adds_bos)),
        adds_eos=bool(metadata.get("tokenizer.ggml.add_eos_token", False)),
        chat_template=template,
    )


def vocabulary_metadata(vocabulary: Vocabulary) -> dict[str, Any]:
    """The metadata of a vocabulary, by key; what llama.cpp would otherwise guess is always said."""
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": vocabulary.pre,
        "tokenizer.ggml.tokens": list(vocabulary.tokens),
        "tokenizer.ggml.token_type": [int(kind) for kind in vocabulary.types],
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in vocabulary.merges],
        "tokenizer.ggml.add_bos_token": vocabulary.adds_bos,
        "tokenizer.ggml.add_eos_token": vocabulary.adds_eos,
        "tokenizer.ggml.add_space_prefix": False,
    }
    metadata |= {SPECIAL_KEYS[role]: token_id for role, token_id in vocabulary.special_ids.items()}
    if vocabulary.chat_template:
        metadata["tokenizer.chat_template"] = vocabulary.chat_template
    return metadata


def text_value(metadata: Mapping[str, Any], key: str, where: Path | str) -> str:
    """The text under `key`.

    Raises:
        InputFileError: the key is missing or holds something else.
    """
    value = metadata.get(key)
    if not isinstance(value, str):
        raise InputFileError(f"{where} has no text under {key!r}", hint="is it a language model's GGUF?")
    return value


def _texts(metadata: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = metadata.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputFileError(
            f"{where} has no list of texts under {key!r}", hint="is it a language model's GGUF?"
        )
    return tuple(values)


def _types(metadata: Mapping[str, Any], num_tokens: int, where: str) -> tuple[TokenType, ...]:
    kinds = metadata.get("tokenizer.ggml.token_type", [TokenType.NORMAL] * num_tokens)
    if not isinstance(kinds, list) or len(kinds) != num_tokens:
        raise InputFileError(
            f"{where} does not have one tokenizer.ggml.token_type for each of {num_tokens} tokens"
        )
    try:
        return tuple(TokenType(kind) for kind in kinds)
    except ValueError as error:
        raise InputFileError(f"{where} has an unknown tokenizer.ggml.token_type: {error}") from None


def _merges(metadata: Mapping[str, Any], tokens: set[str], where: str) -> tuple[tuple[str, str], ...]:
    merges = []
    for rank, text in enumerate(_texts(metadata, "tokenizer.ggml.merges", where)):
        left, _, right = text.partition(" ")
        if not {left, right, left + right} <= tokens:
            raise InputFileError(
                f"{where}: merge {rank} ({text!r}) names a token that the vocabulary does not have"
            )
        merges.append((left, right))
    return tuple(merges)


def _special_ids(metadata: Mapping[str, Any], num_tokens: int, where: str) -> dict[str, int]:
    found = {}
    for role, key in SPECIAL_KEYS.items():
        token_id = metadata.get(key)
        if token_id is None:
            continue
        if not isinstance(token_id, int) or not 0 <= token_id < num_tokens:
            raise InputFileError(f"{where} has {key} {token_id!r}, but {num_tokens} tokens")
        found[role] = token_id
    return found
