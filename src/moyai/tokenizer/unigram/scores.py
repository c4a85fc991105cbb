"""Scores of a fixed list of Unigram pieces: expectation-maximisation on the best cut of each text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from moyai.tokenizer.sentencepiece.file import SentencePieceModel
from moyai.tokenizer.sentencepiece.write import sentencepiece_bytes
from moyai.tokenizer.text_batches import text_batches
from moyai.tokenizer.unigram.layout import FLOOR_SCORE, unigram_model

_NUM_THREADS = 16
# A piece that no cut holds counts as seen so often: it stays in reach where its parts are rare.
_UNSEEN = 0.5


def estimate_scores(
    scores: Mapping[str, float], texts: Sequence[str], *, rounds: int
) -> tuple[dict[str, float], dict[str, int]]:
    """Better scores for the same pieces, and how often the last but one scores took each.

    Each round cuts all texts with the scores so far and takes the logarithms of the pieces' shares.

    Args:
        scores: piece -> score to begin with.
        texts: what is cut.
        rounds: how often, at least once.
    """
    found, counts = dict(scores), dict.fromkeys(scores, 0)
    for _ in range(rounds):
        counts = count_pieces(found, texts)
        total = max(1, sum(counts.values()))
        found = {piece: max(FLOOR_SCORE, float(np.log(max(n, _UNSEEN) / total))) for piece, n in counts.items()}
    return found, counts


def count_pieces(scores: Mapping[str, float], texts: Sequence[str]) -> dict[str, int]:
    """How often each piece stands in the best cuts of `texts`."""
    model = unigram_model(scores)
    counts = _id_counts(model, texts)
    first = len(model.pieces) - len(scores)
    return dict(zip(scores, map(int, counts[first:]), strict=True))


def _id_counts(model: SentencePieceModel, texts: Sequence[str]) -> NDArray[np.int64]:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_proto=sentencepiece_bytes(model))
    counts = np.zeros(len(model.pieces), np.int64)
    for batch in text_batches(texts, str):
        ids = chain.from_iterable(processor.encode(batch, num_threads=_NUM_THREADS))
        counts += np.bincount(np.fromiter(ids, np.int64), minlength=len(counts))
    return counts
