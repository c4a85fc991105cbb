"""Byte fallback of a Unigram vocabulary in llama.cpp, which has none of its own.

Hugging Face and SentencePiece cut a character that is no piece into the tokens of its bytes, `<0x0A>` for a
newline.  llama.cpp's Unigram takes the unknown token instead, and never a token of type BYTE.  It walks through
a text by characters, so an ordinary token whose text is one ASCII character does the same as the byte's token:
`<0x0A>` is therefore stored as an ordinary token that is spelled as a newline.  For a character of more than one
byte nothing helps: it becomes the unknown token.  Tokens of type BYTE keep their place, since a model may well
write them.

Source: `llm_tokenizer_ugm_session::tokenize` and `llama_vocab::impl::token_to_piece` in `src/llama-vocab.cpp` of
llama.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

from gguf.constants import TokenType

from moyai.tokenizer.token_bytes import byte_piece_value

# What an unknown character costs more than the least likely piece, in SentencePiece and Hugging Face.
_UNKNOWN_PENALTY = 10.0
# llama.cpp takes a text for ended at byte 0; a space is spelled as ▁.
_NUL, _SPACE, _NUM_ASCII = 0, 32, 128


def characters_without_token(text: str, tokens: Sequence[str]) -> str:
    r"""The characters of a text, each once, that are no token and that `byte_tokens_spelled` does not help.

    >>> characters_without_token("a\n鱻a鱻", ["a"])
    '鱻'
    """
    known = set(tokens)
    lost = [char for char in text if char not in known and (ord(char) >= _NUM_ASCII or ord(char) == _NUL)]
    return "".join(dict.fromkeys(lost))


def byte_tokens_spelled(
    tokens: Sequence[str], types: Sequence[TokenType], scores: Sequence[float]
) -> tuple[tuple[str, ...], tuple[TokenType, ...], tuple[float, ...]]:
    r"""The vocabulary with the tokens of ASCII bytes as ordinary tokens, where the character is no token yet.

    >>> byte_tokens_spelled(["<0x0A>", "a"], [TokenType.BYTE, TokenType.NORMAL], [0.0, -2.0])[0]
    ('\n', 'a')
    """
    known = set(tokens)
    unknown_score = min(scores, default=0.0) - _UNKNOWN_PENALTY
    spelled, kinds, costs = list(tokens), list(types), list(scores)
    for i, kind in enumerate(types):
        byte = byte_piece_value(tokens[i]) if kind == TokenType.BYTE else None
        if byte is None or byte in (_NUL, _SPACE) or byte >= _NUM_ASCII or chr(byte) in known:
            continue
        spelled[i], kinds[i], costs[i] = chr(byte), TokenType.NORMAL, unknown_score
    return tuple(spelled), tuple(kinds), tuple(costs)


def byte_tokens_folded(
    tokens: Sequence[str], types: Sequence[TokenType], scores: Sequence[float]
) -> tuple[tuple[str, ...], tuple[TokenType, ...], tuple[float, ...]]:
    r"""The inverse of `byte_tokens_spelled`: an ASCII character that stands where its byte's token would.

    >>> tokens, types = ["<0x09>", "\n", "<0x0B>"], [TokenType.BYTE, TokenType.NORMAL, TokenType.BYTE]
    >>> byte_tokens_folded(tokens, types, [0.0, -30.0, 0.0])[0]
    ('<0x09>', '<0x0A>', '<0x0B>')
    """
    folded, kinds, costs = list(tokens), list(types), list(scores)
    at = {i: byte_piece_value(tokens[i]) or 0 for i, kind in enumerate(types) if kind == TokenType.BYTE}
    starts = {i - byte for i, byte in at.items()}
    if len(starts) == 1:  # all bytes in one row
        first, byte_score = starts.pop(), scores[next(iter(at))]
        for i in range(max(first, 0), min(first + _NUM_ASCII, len(tokens))):
            if tokens[i] == chr(i - first) and types[i] == TokenType.NORMAL:
                folded[i], kinds[i], costs[i] = f"<0x{i - first:02X}>", TokenType.BYTE, byte_score
    return tuple(folded), tuple(kinds), tuple(costs)
