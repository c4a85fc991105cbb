"""What a Unigram model loses with a piece: how much less likely its texts become without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moyai.tokenizer.sentencepiece.file import PieceType
from moyai.tokenizer.sentencepiece.write import sentencepiece_bytes
from moyai.tokenizer.unigram.layout import unigram_model

# A byte's token is about as rare as a rare piece; its score in the model only keeps it out of every other cut.
_BYTE_SCORE = -12.0


def removal_costs(
    scores: Mapping[str, float], counts: Mapping[str, int], pieces: Sequence[str]
) -> dict[str, float]:
    """For each of `pieces` the log-likelihood that its occurrences lose when they are cut in the second-best way.

    Args:
        scores: every piece of the vocabulary -> score.
        counts: piece -> occurrences in best cuts.
        pieces: which are asked about.

    Source: `Trainer::PruneSentencePieces` of SentencePiece, without the change of all other scores.
    """
    from sentencepiece import SentencePieceProcessor

    # A piece is cut as it stands, without a space before it; byte tokens come only where there is nothing else.
    model = replace(unigram_model(scores), adds_dummy_prefix=False)
    processor = SentencePieceProcessor(model_proto=sentencepiece_bytes(model))
    own = [_BYTE_SCORE if piece.type == PieceType.BYTE else piece.score for piece in model.pieces]
    costs = {}
    for piece in pieces:
        spelled = piece.replace("▁", " ")
        cuts = processor.nbest_encode_as_ids(spelled, nbest_size=2)
        others = [ids for ids in cuts if len(ids) > 1 or processor.id_to_piece(ids[0]) != piece]
        second = sum(own[i] for i in others[0]) if others else _BYTE_SCORE * len(spelled.encode())
        costs[piece] = counts[piece] * (scores[piece] - second)
    return costs
