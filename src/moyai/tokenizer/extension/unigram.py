"""New pieces of a Unigram vocabulary, and scores for them that go with the base's own.

Candidates are frequent joins of the base's tokens.  A piece's score is the logarithm of its share of the tokens,
moved by as much as the base's scores lie from its own pieces' shares of this corpus; the base's scores stay as they
are.  The words are cut anew with the real tokenizer, shares are counted again, and the pieces that save least go, in
two rounds (hard expectation maximisation).  At last a piece whose own text is still cut otherwise is given a score
just above that of the other cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from moyai.tokenizer.extension.extended_vocabulary import extended_vocabulary
from moyai.tokenizer.extension.learn import Learner
from moyai.tokenizer.extension.reachable import cut_alone
from moyai.tokenizer.extension.words import Words
from moyai.tokenizer.load import tokenizer_of
from moyai.tokenizer.vocabulary import BaseVocabulary

CANDIDATES_PER_PIECE = 1.25
"""So many times the pieces asked for are learnt, for the best of them to be chosen."""

_ROUNDS = (0.5, 0.9)
"""After each round, how far the number of candidates has come down to the number asked for; the rest is in reserve."""
_BATCH_WORDS = 50_000
# Above the other cut of its text by so much is a piece's score at least, in nats; between these two by its hash, so
# that no two ways to cut a text have the same score, of which SentencePiece and `tokenizers` would take different ones.
_MARGINS = (0.25, 0.5)
_MIN_COUNT = 50
_SETTLING_ROUNDS = 12


def choose_pieces(base: BaseVocabulary, words: Words, learner: Learner, num_pieces: int) -> dict[str, float]:
    """The `num_pieces` candidates that save most tokens, best first, with their scores; fewer where there are fewer."""
    symbols, spelled, counts = _spelled_words(words)
    own = np.array([score for _, score in base.data["model"]["vocab"]], np.float64)
    shift = _shift(own, base, words, symbols)
    tokens = {piece: len(ids) for piece, ids in learner.pieces.items()}
    other_cut = {piece: float(own[list(ids)].sum()) for piece, ids in learner.pieces.items()}
    candidates = list(learner.pieces)
    found, total = learner.piece_counts(), learner.num_tokens()
    scores: dict[str, float] = {}
    for reached in (0.0, *_ROUNDS):
        if reached:
            found, total = _recounted(base, scores, spelled, counts)
        candidates = sorted(candidates, key=lambda piece: (-found[piece] * (tokens[piece] - 1), piece))
        shares = {piece: float(np.log(max(found[piece], 1) / total)) + shift for piece in candidates}
        scores = {piece: max(share, other_cut[piece] + _margin(piece), own.min()) for piece, share in shares.items()}
        candidates = candidates[: num_pieces + round((1 - reached) * max(len(tokens) - num_pieces, 0))]
        scores = {piece: scores[piece] for piece in candidates}
    return _settled(base, scores, num_pieces)


def _spelled_words(words: Words) -> tuple[NDArray[np.int64], list[str], NDArray[np.int64]]:
    """How often each symbol stands in the words, the words' texts, and how often each occurs."""
    ends = np.flatnonzero(words.sequence < 0)
    starts = np.concatenate([[0], ends + 1])[:-1]
    texts = [symbol.text for symbol in words.symbols]
    sequence = words.sequence.tolist()
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    spelled = ["".join(map(texts.__getitem__, sequence[start:end])) for start, end in bounds]
    real = words.sequence >= 0
    of_symbol = np.bincount(words.sequence[real], weights=words.counts[real], minlength=len(texts)).astype(np.int64)
    return of_symbol, spelled, words.counts[ends]


def _shift(
    own: NDArray[np.float64], base: BaseVocabulary, words: Words, of_symbol: NDArray[np.int64]
) -> float:
    """How far the base's scores lie above the logarithms of its pieces' shares, in the middle of the frequent ones."""
    shares = of_symbol / max(int(of_symbol.sum()), 1)
    distances = [
        own[symbol.ids[0]] - np.log(share)
        for symbol, share, count in zip(words.symbols, shares, of_symbol, strict=True)
        if symbol.is_piece and count >= _MIN_COUNT
    ]
    return float(np.median(distances)) if distances else 0.0


def _recounted(
    base: BaseVocabulary, scores: dict[str, float], spelled: Sequence[str], counts: NDArray[np.int64]
) -> tuple[dict[str, int], int]:
    """How often each new piece is used where the words are cut with these scores, and the number of all tokens."""
    vocabulary = extended_vocabulary(base, list(scores), list(scores.values()))
    data = {**vocabulary.data, "normalizer": None, "pre_tokenizer": None, "post_processor": None, "added_tokens": []}
    tokenizer = tokenizer_of(json.dumps(data, ensure_ascii=False))
    of_id = np.zeros(vocabulary.num_ids)
    for start in range(0, len(spelled), _BATCH_WORDS):
        batch = tokenizer.encode_batch_fast(spelled[start : start + _BATCH_WORDS], add_special_tokens=False)
        ids = np.concatenate([np.array(encoding.ids, np.int64) for encoding in batch])
        weights = np.repeat(counts[start : start + _BATCH_WORDS], [len(encoding.ids) for encoding in batch])
        of_id += np.bincount(ids, weights=weights, minlength=len(of_id))
    return {piece: int(of_id[vocabulary.ids[piece]]) for piece in scores}, int(of_id.sum())


def _settled(base: BaseVocabulary, scores: dict[str, float], num_pieces: int) -> dict[str, float]:
    """The first pieces that can all be reached, with scores with which the text of each is cut into it alone."""
    chosen, spare = dict(islice(scores.items(), num_pieces)), list(scores)[num_pieces:][::-1]
    for number in count(1):
        vocabulary = extended_vocabulary(base, list(chosen), list(chosen.values()))
        own = [score for _, score in vocabulary.data["model"]["vocab"]]
        cuts = cut_alone(vocabulary, list(chosen))
        missed = {piece: ids for piece, ids in cuts.items() if ids != [vocabulary.ids[piece]]}
        if not missed:
            break
        if number % _SETTLING_ROUNDS:
            chosen |= {piece: sum(own[id_] for id_ in ids) + _margin(piece) for piece, ids in missed.items()}
        else:
            # No score will do: there is something in the way besides other pieces.
            chosen = {piece: score for piece, score in chosen.items() if piece not in missed}
            while spare and len(chosen) < num_pieces:
                piece = spare.pop()
                chosen[piece] = scores[piece]
    return chosen


def _margin(piece: str) -> float:
    low, high = _MARGINS
    digest = hashlib.blake2b(piece.encode("utf-8"), digest_size=4).digest()
    return low + (high - low) * int.from_bytes(digest, "little") / 2**32
