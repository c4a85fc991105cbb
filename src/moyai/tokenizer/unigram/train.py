"""Training a Unigram vocabulary with byte fallback from nothing: language after language, no piece dropped again.

Each stage learns more candidates than it needs, lets them compete with all pieces that there are already, and drops
those whose loss costs least until the number is right.  At the end all scores are estimated anew on all texts together.

Source: the staged training of llm-jp-tokenizer ver3 (`scripts_v3`): pieces borrowed from Mistral come first, each
language has mandatory pieces, earlier pieces are never pruned.  The candidates come from SentencePiece's trainer
instead of its own, and scores from best cuts instead of expected ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moyai.errors import UserError
from moyai.progress import Progress
from moyai.tokenizer.sentencepiece.file import SentencePieceModel
from moyai.tokenizer.unigram.candidates import learn_candidates
from moyai.tokenizer.unigram.layout import unigram_model
from moyai.tokenizer.unigram.pruning import removal_costs
from moyai.tokenizer.unigram.scores import count_pieces, estimate_scores

# So many candidates for each piece wanted, and some more.
_CANDIDATES_PER_PIECE, _SPARE_CANDIDATES = 1.3, 1000
# In one round of pruning at most this share goes, as in SentencePiece; scores are estimated between the rounds.
_LARGEST_CUT = 0.25
_ROUNDS, _FINAL_ROUNDS = 2, 3
# Of these every text with code or English consists, so no vocabulary does without them.
_PRINTABLE_ASCII = tuple(map(chr, range(0x21, 0x7F)))
# The score of a piece that must be there though the texts hold it rarely; it only begins with this.
_FIRST_SCORE = -14.0


@dataclass(frozen=True)
class LanguageStage:
    """One stage: texts of a language, how many pieces it adds, and which must be among them."""

    texts: Sequence[str]
    num_pieces: int
    mandatory: tuple[str, ...] = ()
    """With ▁ for a space."""


@dataclass(frozen=True)
class TrainedUnigram:
    """The model, and what became of each stage."""

    model: SentencePieceModel
    stage_pieces: tuple[tuple[str, ...], ...]
    """Of each stage its new pieces, in order of their ids."""
    num_borrowed: int
    num_unseen: int
    """Pieces that no best cut of the texts holds: borrowed or mandatory ones of rare words."""


def train_unigram(
    stages: Sequence[LanguageStage], *, borrowed: Mapping[str, float], max_characters: int, progress: Progress
) -> TrainedUnigram:
    """Train a vocabulary of 280 fixed tokens, the borrowed pieces, and exactly the pieces of each stage.

    Same texts and settings give the same model on every machine.

    Args:
        stages: in order.
        borrowed: piece -> score to begin with.
        max_characters: length of the longest learnt piece.
        progress: where to tell how far it is.

    Raises:
        UserError: a stage's texts yield too few pieces, or have too many characters for them.
    """
    scores = dict(borrowed)
    stage_pieces = []
    for number, stage in enumerate(stages, start=1):
        where = f"stage {number} of the tokenizer"
        num_characters = sum(map(len, stage.texts))
        progress.note(f"{where}: learning {stage.num_pieces:,} pieces on {num_characters:,} characters")
        kept = [*(_PRINTABLE_ASCII if number == 1 else ()), *stage.mandatory]
        new = _stage_scores(stage, scores, kept, max_characters, where)
        stage_pieces.append(tuple(sorted(new, key=lambda piece: (-new[piece], piece))))
        scores |= {piece: new[piece] for piece in stage_pieces[-1]}
    everything = [text for stage in stages for text in stage.texts]
    progress.note(f"estimating the scores of {len(scores):,} pieces on all texts")
    final, counts = estimate_scores(scores, everything, rounds=_FINAL_ROUNDS)
    return TrainedUnigram(
        unigram_model(final), tuple(stage_pieces), len(borrowed), sum(count == 0 for count in counts.values())
    )


def _stage_scores(
    stage: LanguageStage, earlier: Mapping[str, float], mandatory: Iterable[str], max_characters: int, where: str
) -> dict[str, float]:
    """The new pieces of one stage with their scores on its texts."""
    kept = [piece for piece in dict.fromkeys(mandatory) if piece not in earlier]
    if len(kept) > stage.num_pieces:
        raise UserError(
            f"{where} has {len(kept)} mandatory pieces, more than the {stage.num_pieces} that it is to have",
            hint="printable ASCII is mandatory in the first stage" if len(kept) > len(stage.mandatory) else "",
        )
    # Pieces that are there already and that the texts have a use for will be learnt once more.
    num_known = sum(count > 0 for count in count_pieces(earlier, stage.texts).values())
    wanted = int(stage.num_pieces * _CANDIDATES_PER_PIECE) + _SPARE_CANDIDATES + num_known
    candidates = learn_candidates(stage.texts, num_pieces=wanted, max_characters=max_characters)
    new = dict.fromkeys(kept, _FIRST_SCORE) | {p: score for p, score in candidates.items() if p not in earlier}
    if len(new) < stage.num_pieces:
        raise UserError(
            f"{where} yields {len(new)} new pieces, not {stage.num_pieces}", hint="give more text, or fewer pieces"
        )
    return _pruned(new, earlier, stage, frozenset(kept), where)


def _pruned(
    new: Mapping[str, float], earlier: Mapping[str, float], stage: LanguageStage, kept: frozenset[str], where: str
) -> dict[str, float]:
    """As many of `new` as the stage wants, those whose removal would cost most, and all of `kept`."""
    scores = {**earlier, **new}
    left = list(new)
    while True:
        scores, _ = estimate_scores(scores, stage.texts, rounds=_ROUNDS)
        if len(left) == stage.num_pieces:
            return {piece: scores[piece] for piece in left}
        costs = removal_costs(scores, count_pieces(scores, stage.texts), [piece for piece in left if piece not in kept])
        num_left = max(stage.num_pieces, math.ceil(len(left) * (1 - _LARGEST_CUT)))
        dearest = sorted(costs, key=lambda piece: (-costs[piece], piece))[: num_left - len(kept)]
        staying = kept.union(dearest)
        for piece in left:
            if piece not in staying:
                del scores[piece]
        left = [piece for piece in left if piece in staying]
