"""Which character each of several byte tokens belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def byte_offsets(
    tokens: Sequence[str], offsets: Sequence[tuple[int, int]], text: str
) -> list[tuple[int, int]]:
    r"""The offsets of tokens, where those of byte tokens are exact.

    A Unigram model takes neighbouring characters that it does not know for one unknown piece before it falls back to
    their bytes, so `tokenizers` gives every byte of the piece the offsets of the whole.

    Args:
        tokens: spelling of each token.
        offsets: characters [start, stop) of each, as `tokenizers` gives them.
        text: what was encoded.

    >>> byte_offsets([":", "<0x0A>", "<0x0A>"], [(0, 1), (1, 3), (1, 3)], ":\n\n")
    [(0, 1), (1, 2), (2, 3)]
    """
    exact = list(offsets)
    for (start, stop), group in groupby(range(len(exact)), key=exact.__getitem__):
        run = list(group)
        if len(run) == 1 or stop - start == 1 or not all(_BYTE.fullmatch(tokens[i]) for i in run):
            continue
        owners = [start + k for k, character in enumerate(text[start:stop]) for _ in character.encode("utf-8")]
        if len(owners) == len(run):
            exact[run[0] : run[-1] + 1] = [(owner, owner + 1) for owner in owners]
    return exact
