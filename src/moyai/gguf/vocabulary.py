"""A vocabulary as GGUF metadata, and what both directions need to know of it.

Source: `src/llama-vocab.cpp` and `conversion/base.py` (`get_vocab_base`, `_set_vocab_sentencepiece`) of
llama.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from gguf.constants import TokenType

from moyai.errors import InputFileError
from moyai.gguf.header import GgufHeader
from moyai.gguf.pretokenizer import pre_tokenizer_named
from moyai.gguf.unigram_bytes import byte_tokens_folded, byte_tokens_spelled

VocabularyModel = Literal["gpt2", "llama", "t5"]
"""llama.cpp's names: byte-level BPE, SentencePiece BPE with byte fallback, SentencePiece Unigram."""

_MODELS: tuple[VocabularyModel, ...] = get_args(VocabularyModel)
# Role of a special token -> key of its id in a GGUF.
SPECIAL_KEYS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "pad": "tokenizer.ggml.padding_token_id",
    "eot": "tokenizer.ggml.eot_token_id",
}
# What llama.cpp takes where the file does not say; its ids for gpt2 fit no model.
_DEFAULT_IDS = {"llama": {"bos": 1, "eos": 2, "unk": 0}, "t5": {"eos": 1, "unk": 2}}
_HINT = "take the Hugging Face checkpoint of this model instead of its GGUF"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in order of their ids, how text is cut into them, and which of them are special."""

    model: VocabularyModel
    tokens: tuple[str, ...]
    """Ordinary tokens as the model spells them (bytes of UTF-8, or ▁ for a space), added ones as they are."""
    types: tuple[TokenType, ...]
    pre: str = "default"
    """gpt2: llama.cpp's name for the pre-tokenizer."""
    merges: tuple[tuple[str, str], ...] = ()
    """gpt2: the merges in order of rank."""
    scores: tuple[float, ...] = ()
    """llama: the neighbours whose piece has the highest score are joined first; t5: log-probabilities."""
    adds_space_prefix: bool = False
    """llama and t5: whether a space is put before a text, and after a special token."""
    metaspace: Literal["", "always", "first"] = ""
    """Of a tokenizer that puts the space only before what begins with none, and perhaps only at the very first:
    where. A GGUF cannot say it."""
    special_ids: Mapping[str, int] = field(default_factory=dict)
    """Role (a key of SPECIAL_KEYS) -> id."""
    adds_bos: bool = False
    adds_eos: bool = False
    chat_template: str | None = None


def read_vocabulary(header: GgufHeader) -> Vocabulary:
    """The vocabulary of a GGUF file.

    Raises:
        InputFileError: it is of another kind, its pre-tokenizer is not known, or it contradicts itself.
    """
    where, metadata = str(header.path), header.metadata
    model = _model(metadata, where)
    tokens = _texts(metadata, "tokenizer.ggml.tokens", where)
    if len(set(tokens)) != len(tokens):
        raise InputFileError(f"{where} has a token twice in tokenizer.ggml.tokens")
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise InputFileError(f"{where} has a tokenizer.chat_template that is not text")
    types = _types(metadata, len(tokens), where)
    special_ids = _special_ids(metadata, model, len(tokens), where)
    if model == "gpt2":
        pre = text_value(metadata, "tokenizer.ggml.pre", where)
        adds_bos = pre_tokenizer_named(pre, where=where).adds_bos
        own: dict[str, Any] = {"pre": pre, "merges": _merges(metadata, set(tokens), where)}
    else:
        _check_plain_spaces(metadata, model, where)
        adds_bos, scores = model == "llama", _scores(metadata, len(tokens), where)
        if model == "t5":
            tokens, types, scores = byte_tokens_folded(tokens, types, scores)
        adds_space = metadata.get("tokenizer.ggml.add_space_prefix", model == "llama")
        own = {"scores": scores, "adds_space_prefix": bool(adds_space)}
    return Vocabulary(
        model=model,
        tokens=tokens,
        types=types,
        special_ids=special_ids,
        adds_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", adds_bos)),
        adds_eos=bool(metadata.get("tokenizer.ggml.add_eos_token", model == "t5")),
        chat_template=template,
        **own,
    )


def vocabulary_metadata(vocabulary: Vocabulary) -> dict[str, Any]:
    """The metadata of a vocabulary, by key; what llama.cpp would otherwise guess is always said."""
    tokens, types, scores = vocabulary.tokens, vocabulary.types, vocabulary.scores
    if vocabulary.model == "t5":
        tokens, types, scores = byte_tokens_spelled(tokens, types, scores)
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": vocabulary.model,
        "tokenizer.ggml.pre": vocabulary.pre,
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.token_type": [int(kind) for kind in types],
        "tokenizer.ggml.add_bos_token": vocabulary.adds_bos,
        "tokenizer.ggml.add_eos_token": vocabulary.adds_eos,
        "tokenizer.ggml.add_space_prefix": vocabulary.adds_space_prefix,
    }
    if vocabulary.model == "gpt2":
        metadata["tokenizer.ggml.merges"] = [f"{left} {right}" for left, right in vocabulary.merges]
    else:
        metadata["tokenizer.ggml.scores"] = list(scores)
        metadata["tokenizer.ggml.remove_extra_whitespaces"] = False
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


def _model(metadata: Mapping[str, Any], where: str) -> VocabularyModel:
    named = text_value(metadata, "tokenizer.ggml.model", where)
    for model in _MODELS:
        if named == model:
            return model
    raise InputFileError(
        f"{where} has tokenizer.ggml.model {named!r}; {', '.join(_MODELS)} can be read", hint=_HINT
    )


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


def _check_plain_spaces(metadata: Mapping[str, Any], model: str, where: str) -> None:
    """Of a Unigram vocabulary llama.cpp can also squeeze spaces and replace characters."""
    for key in ("tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.precompiled_charsmap"):
        if model == "t5" and metadata.get(key):
            raise InputFileError(f"{where} changes a text before it is cut ({key}), which is not yet known", hint=_HINT)


def _scores(metadata: Mapping[str, Any], num_tokens: int, where: str) -> tuple[float, ...]:
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != num_tokens or not all(map(_is_finite, scores)):
        raise InputFileError(f"{where} does not have one finite tokenizer.ggml.scores for each of {num_tokens} tokens")
    return tuple(map(float, scores))


def _is_finite(score: Any) -> bool:
    return isinstance(score, int | float) and math.isfinite(score)


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


def _special_ids(metadata: Mapping[str, Any], model: str, num_tokens: int, where: str) -> dict[str, int]:
    found = {}
    for role, key in SPECIAL_KEYS.items():
        token_id = metadata.get(key, _DEFAULT_IDS.get(model, {}).get(role))
        if token_id is None:
            continue
        if not isinstance(token_id, int) or not 0 <= token_id < num_tokens:
            raise InputFileError(f"{where} has {key} {token_id!r}, but {num_tokens} tokens")
        found[role] = token_id
    return found
