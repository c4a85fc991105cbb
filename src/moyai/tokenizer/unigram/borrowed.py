"""Pieces that a new Unigram vocabulary takes over from another one."""

from __future__ import annotations

import math
from pathlib import Path

from moyai.tokenizer.sentencepiece.file import PieceType, read_sentencepiece
from moyai.tokenizer.unigram.layout import FIXED_TOKENS


def borrowed_pieces(path: Path) -> dict[str, float]:
    """The ordinary pieces of a `tokenizer.model` in their order, with scores to begin with.

    A BPE model's scores are ranks; a piece's probability is taken to fall with its rank, as words' do (Zipf).

    Raises:
        InputFileError: the file is no SentencePiece model.
    """
    model = read_sentencepiece(path)
    pieces = [piece for piece in model.pieces if piece.type == PieceType.NORMAL and piece.text not in FIXED_TOKENS]
    if model.kind == "unigram":
        return {piece.text: piece.score for piece in pieces}
    harmonic = math.log(len(pieces) + 1) + 1
    return {piece.text: -math.log(rank * harmonic) for rank, piece in enumerate(pieces, start=1)}
