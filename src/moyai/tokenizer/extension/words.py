"""Words as sequences of symbols: what new pieces are learnt on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Symbol:
    """What words are made of."""

    text: str
    """In the vocabulary's spelling."""
    ids: tuple[int, ...]
    """The base's tokens for it; several where it is a character without a piece."""
    is_piece: bool = True


@dataclass(frozen=True)
class Words:
    """Different words and how often each occurs."""

    symbols: tuple[Symbol, ...]
    sequence: NDArray[np.int32]
    """Indices into `symbols`, one word after the other, -1 behind each word."""
    counts: NDArray[np.int64]
    """How often the word at each place of `sequence` occurs, [same length]."""
