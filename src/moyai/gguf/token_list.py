"""Tokens in order of their ids, out of the parts of a tokenizer's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gguf.constants import TokenType

from moyai.errors import InputFileError


def token_list(
    vocab: Mapping[str, int], added: Sequence[Mapping[str, Any]], *, vocab_size: int, where: str
) -> tuple[list[str], list[TokenType]]:
    """The tokens of a vocabulary and their types, with an unused `[PADn]` for each row that has none.

    Args:
        vocab: token -> id, as the tokenizer's model has it.
        added: the `added_tokens` of a `tokenizer.json`; they take the place of what the model has there.
        vocab_size: rows of the embedding.
        where: the file, for messages.

    Raises:
        InputFileError: there are more ids than rows, a token is called like a padding row, or an added one takes
            in its surroundings.

    >>> token_list({"a": 1}, [{"id": 0, "content": "<s>", "special": True}], vocab_size=3, where="t")[0]
    ['<s>', 'a', '[PAD2]']
    """
    num_ids = max([*vocab.values(), *(entry["id"] for entry in added)], default=-1) + 1
    if num_ids > vocab_size:
        raise InputFileError(f"{where} has ids up to {num_ids - 1}, the embedding only {vocab_size} rows")
    tokens = [f"[PAD{i}]" for i in range(vocab_size)]
    types = [TokenType.UNUSED] * vocab_size
    for token, token_id in vocab.items():
        tokens[token_id], types[token_id] = token, TokenType.NORMAL
    for entry in added:
        if entry.get("lstrip") or entry.get("rstrip") or entry.get("single_word"):
            raise InputFileError(
                f"{where}: the added token {entry['content']!r} takes in its surroundings (lstrip, rstrip or"
                " single_word), which a GGUF cannot say"
            )
        tokens[entry["id"]] = entry["content"]
        types[entry["id"]] = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
    if len(set(tokens)) != vocab_size:
        raise InputFileError(f"{where} has a token that is called like a padding row, [PADn]")
    return tokens, types
