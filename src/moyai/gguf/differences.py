"""Texts that llama.cpp is known to cut otherwise than the tokenizer of the checkpoint.

No GGUF can say what these tokenizers do; everything else must agree to the last token.

Source: `llm_tokenizer_ugm_session` and `llama_vocab::impl::tokenize` in `src/llama-vocab.cpp` of llama.cpp;
`pre_tokenizers/metaspace.rs` and `models/unigram/model.rs` of tokenizers.
"""

from __future__ import annotations

import re
import unicodedata

from gguf.constants import TokenType

from moyai.gguf.pretokenizer import PRE_TOKENIZERS
from moyai.gguf.unigram_bytes import characters_without_token
from moyai.gguf.vocabulary import Vocabulary

_MARKS = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
_SPACES = (" ", "▁")


def known_difference(vocabulary: Vocabulary, text: str) -> str:
    """Why llama.cpp may cut a text otherwise than the tokenizer; empty where it cuts it alike.

    Args:
        vocabulary: as `read_tokenizer_files` gives it.
        text: any text without a byte 0, at which llama.cpp takes it for ended.
    """
    marks = [token for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind in _MARKS]
    longest_first = "|".join(map(re.escape, sorted(marks, key=len, reverse=True)))
    parts = re.split(longest_first, text) if marks else [text]
    if vocabulary.model == "gpt2":
        return _normalisation(vocabulary, text)
    return _prefix(vocabulary, parts) or (_unigram(vocabulary, parts) if vocabulary.model == "t5" else "")


def _normalisation(vocabulary: Vocabulary, text: str) -> str:
    normaliser = PRE_TOKENIZERS[vocabulary.pre].normalizer
    if normaliser and unicodedata.normalize("NFC", text) != text:
        return "llama.cpp does not compose characters (NFC)"
    return ""


def _prefix(vocabulary: Vocabulary, parts: list[str]) -> str:
    if vocabulary.metaspace and any(part.startswith(_SPACES) for part in parts):
        return "llama.cpp puts a space before a text that begins with one"
    if vocabulary.metaspace == "first" and any(parts[1:]):
        return "llama.cpp puts a space after each special token"
    return ""


def _unigram(vocabulary: Vocabulary, parts: list[str]) -> str:
    lost = "".join(characters_without_token(part, vocabulary.tokens) for part in parts)
    if lost and TokenType.BYTE in vocabulary.types:
        return f"llama.cpp takes the unknown token for {lost!r}, the tokenizer takes bytes"
    if vocabulary.adds_space_prefix and any(part and not part.strip("".join(_SPACES)) for part in parts):
        return "llama.cpp puts no space before a text of nothing but spaces"
    if any(re.search("<0x[0-9A-F]{2}>", part) for part in parts):
        return "llama.cpp does not take the spelled-out name of a byte for the byte"
    return ""
