"""What every Unigram vocabulary trained here begins with, and in which order its ids are.

    0-7        <unk> <s> </s> <MASK> <PAD> <CLS> <SEP> <EOD>
    8-263      the bytes <0x00> to <0xFF>, for a character that is no piece
    264-279    runs of 16 to 1 spaces
    280-       the pieces that were borrowed, then those of each stage

Source: the ids of llm-jp-tokenizer ver3.0 and 3.1; the scores of special tokens, bytes and runs are those of 3.1.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from moyai.recipe.tokenizer_settings import NUM_FIXED_TOKENS
from moyai.tokenizer.sentencepiece.file import Piece, PieceType, SentencePieceModel

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<MASK>", "<PAD>", "<CLS>", "<SEP>", "<EOD>")
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))

_LONGEST_RUN = 16
# A run costs -7.5 for itself and -7.5 for each space: the longest that fits is always taken, before any other cut.
_RUN_SCORE = -7.5
# No piece costs more.  Six characters of this score cost less than a byte's token, so `<0x0A>` written out in a text is
# never taken for the byte by Hugging Face's Unigram, which knows no pieces of type BYTE.
FLOOR_SCORE = -21.0
# Scores are multiples of 1/64: sums of some ten thousand of them are exact in float32, in which SentencePiece adds, so
# it finds the same cut as Hugging Face's Unigram, which adds in float64.
_SCORE_STEPS = 64

SPACE_RUNS = tuple("▁" * length for length in range(_LONGEST_RUN, 0, -1))
LOWEST_SCORE = _RUN_SCORE * (_LONGEST_RUN + 1)

FIXED_TOKENS = frozenset((*SPECIAL_TOKENS, *BYTE_TOKENS, *SPACE_RUNS))
assert len(FIXED_TOKENS) == NUM_FIXED_TOKENS


def unigram_model(scores: Mapping[str, float]) -> SentencePieceModel:
    """A whole model: what every vocabulary begins with, then the pieces of `scores` in their order.

    Args:
        scores: piece, with ▁ for a space -> logarithm of its probability; rounded, and raised to `FLOOR_SCORE` where
            it is lower.
    """
    assert FIXED_TOKENS.isdisjoint(scores), "a piece is spelled like a special token, a byte or a run of spaces"
    types = [PieceType.UNKNOWN, *[PieceType.CONTROL] * (len(SPECIAL_TOKENS) - 1)]
    pieces = [Piece(token, LOWEST_SCORE, kind) for token, kind in zip(SPECIAL_TOKENS, types, strict=True)]
    pieces += [Piece(token, LOWEST_SCORE, PieceType.BYTE) for token in BYTE_TOKENS]
    pieces += [Piece(run, _RUN_SCORE * (len(run) + 1), PieceType.NORMAL) for run in SPACE_RUNS]
    pieces += [Piece(text, _stored(score), PieceType.NORMAL) for text, score in scores.items()]
    return SentencePieceModel(
        kind="unigram",
        pieces=tuple(pieces),
        adds_dummy_prefix=True,
        removes_extra_spaces=False,
        has_charsmap=False,
    )


def _stored(score: float) -> float:
    """A score as it is written.

    >>> _stored(-10.009), _stored(-50.0)
    (-10.015625, -21.0)
    """
    rounded = round(max(score, FLOOR_SCORE) * _SCORE_STEPS) / _SCORE_STEPS
    assert struct.unpack("<f", struct.pack("<f", rounded))[0] == rounded
    return rounded
