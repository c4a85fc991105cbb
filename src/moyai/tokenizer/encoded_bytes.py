"""The bytes of a text that each of its tokens stands for.

A SentencePiece tokenizer puts a space before a text that is not in it, and before what follows an added token; the
token that begins there spells that space and stands for none.
"""

from __future__ import annotations

from collections.abc import Sequence


def encoded_bytes(spelled: Sequence[bytes], content: bytes) -> list[bytes] | None:
    r"""What each token stands for, which adds up to `content`; None where the tokens spell another text.

    Args:
        spelled: what each token spells, in order.
        content: the text that was encoded, in UTF-8.

    >>> encoded_bytes([b" a", b" b"], b"a b")
    [b'a', b' b']
    >>> encoded_bytes([b"\xe3", b"\x81\x82"], "あ".encode())
    [b'\xe3', b'\x81\x82']
    """
    tokens = list(spelled)
    if sum(map(len, tokens)) == len(content) + 1 and tokens[0][:1] == b" ":
        tokens[0] = tokens[0][1:]
    place = 0
    for number, token in enumerate(tokens):
        is_there = content.startswith(token, place)
        if not is_there and token[:1] == b" " and content.startswith(token[1:], place):
            tokens[number] = token[1:]
        elif not is_there:
            return None
        place += len(tokens[number])
    return tokens if place == len(content) else None
