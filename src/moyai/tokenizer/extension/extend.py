"""Vocabulary extension: new pieces learnt on top of the base's own, in the files of its family.

The corpus is encoded by the base tokenizer, and pieces are learnt that join its tokens.  In BPE the lowest rank goes
first, and every new piece ranks behind the base's own.  So the extended tokenizer first does exactly what the base
did and then joins further: no text is ever cut into more tokens than before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from moyai.errors import UserError
from moyai.progress import Bar, Progress, SilentProgress
from moyai.tokenizer.extension.extended_vocabulary import extended_vocabulary, write_vocabulary
from moyai.tokenizer.extension.learn import Learner
from moyai.tokenizer.extension.reachable import unreachable
from moyai.tokenizer.extension.segment import JapaneseWords
from moyai.tokenizer.extension.unigram import CANDIDATES_PER_PIECE, choose_pieces
from moyai.tokenizer.extension.word_counts import count_words
from moyai.tokenizer.extension.word_cuts import may_be_piece
from moyai.tokenizer.token_bytes import spelled_bytes
from moyai.tokenizer.vocabulary import BaseVocabulary

Segmentation = Literal["none", "words"]


@dataclass(frozen=True)
class Extension:
    """What was learnt."""

    pieces: dict[str, tuple[int, ...]]
    """Spelling of each new piece, in order of id, to the base ids it replaces."""
    scores: tuple[float, ...] = ()
    """Log-probabilities of the pieces, for a Unigram vocabulary."""
    share_counted: float = 1.0
    """The part of the texts that was learnt from; less than 1 where all would not fit into memory."""


def learn_extension(
    base: BaseVocabulary,
    texts: Iterable[str],
    *,
    num_pieces: int,
    min_frequency: int = 2,
    max_characters: int = 16,
    segmentation: Segmentation = "none",
    num_characters: int = 0,
    progress: Progress | None = None,
) -> Extension:
    """Learn exactly `num_pieces` new pieces on `texts`.

    Args:
        base: what is extended.
        texts: the corpus, gone through once and never held whole.
        num_pieces: how many pieces.
        min_frequency: what occurs less often is no piece.
        max_characters: length of the longest piece.
        segmentation: with "words" no piece straddles the words of Japanese text.
        num_characters: of all texts together, for the bar; 0 where it is not known.
        progress: what shows how far it is.

    Raises:
        UserError: the texts hold fewer joins that occur `min_frequency` times, or Japanese words are asked for and
            there is no segmenter.
        InputFileError: a text has half a surrogate pair, or the base has no piece for a byte of it.
    """
    progress = progress or SilentProgress()
    boundaries = JapaneseWords() if segmentation == "words" else None
    with progress.bar("counting words", total=num_characters, unit="characters") as bar:
        corpus = count_words(base, texts, boundaries=boundaries, bar=bar)
    num_candidates = round(num_pieces * CANDIDATES_PER_PIECE) if base.family == "Unigram" else num_pieces
    with progress.bar("learning pieces", total=num_candidates, unit="pieces") as bar:
        learner = Learner(
            corpus.words,
            existing=_existing(base),
            closed=base.joins_any_split,
            allows=lambda piece: _may_be_piece(base, piece, max_characters),
            min_frequency=min_frequency,
            num_pieces=num_pieces,
        )
        scores: dict[str, float] = {}
        if base.family == "Unigram":
            learner.learn(num_candidates, bar)
            scores = choose_pieces(base, corpus.words, learner, num_pieces)
        pieces = list(scores) if scores else _settled(base, learner, num_pieces, bar)
    if len(pieces) < num_pieces:
        raise UserError(
            f"the corpus yields {len(pieces)} new pieces that occur {min_frequency} times, not {num_pieces}",
            hint="give more text, or fewer pieces",
        )
    replaced = {piece: learner.pieces[piece] for piece in pieces}
    return Extension(replaced, tuple(scores.values()), corpus.share_counted)


def _settled(base: BaseVocabulary, learner: Learner, num_pieces: int, bar: Bar) -> list[str]:
    """Learn until `num_pieces` are left, without those that longer pieces swallow and those that cannot be reached."""
    learner.learn(num_pieces, bar)
    swallowed, missed = _swallowed(base, learner), set[str]()
    while True:
        learner.learn(num_pieces + len(swallowed) + len(missed), bar)
        # Where the corpus has no others, a step on the way to a longer piece is better than none.
        num_lacking = num_pieces + len(swallowed) + len(missed) - len(learner.pieces)
        swallowed -= set(islice(filter(swallowed.__contains__, list(learner.pieces)), max(num_lacking, 0)))
        pieces = [piece for piece in learner.pieces if piece not in swallowed and piece not in missed]
        found = unreachable(extended_vocabulary(base, pieces), pieces)
        if not found:
            return pieces
        missed |= set(found)


def _swallowed(base: BaseVocabulary, learner: Learner) -> set[str]:
    """Pieces that are of less use than the next one to be learnt, because longer pieces take their places.

    One that a longer piece cannot be made without is left in.
    """
    counts = learner.piece_counts()
    dropped = {piece for piece, count in counts.items() if count < learner.last_saving}
    while dropped:
        kept = [piece for piece in learner.pieces if piece not in dropped]
        missed = unreachable(extended_vocabulary(base, kept), kept)
        needed = {half for piece in missed for half in learner.halves.get(piece, ())} & dropped
        if not needed:
            break
        dropped -= needed
    return dropped


def write_extended(base: BaseVocabulary, extension: Extension, out_dir: Path) -> None:
    """Write the files that hold the vocabulary, the base's own content unchanged in them; no other file is touched."""
    write_vocabulary(extended_vocabulary(base, list(extension.pieces), extension.scores), out_dir)


def _existing(base: BaseVocabulary) -> frozenset[str]:
    """What is a piece already and can be the result of a join."""
    return frozenset(token for token in base.ids if token not in base.added_ids)


def _may_be_piece(base: BaseVocabulary, piece: str, max_characters: int) -> bool:
    spelled = spelled_bytes(piece, base.spelling)
    try:
        text = spelled.decode("utf-8")
    except UnicodeDecodeError:
        # A part of one character may be a step on the way to it; parts of several are no good to any text.
        return len(spelled) < 4 and all(0x80 <= byte < 0xC0 for byte in spelled[1:])
    if base.family == "Unigram" and (text.isascii() or _repeats(text)):
        return False  # ASCII text stays as it is: in Unigram a new piece may make any cut better
    return may_be_piece(text, max_characters) and not (base.joins_any_split and _overlaps_itself(text))


def _repeats(text: str) -> bool:
    """Whether a text is some shorter text several times (`ころころ`).

    Beside that shorter text it would have the same score in any order, and `tokenizers` and SentencePiece would choose
    differently.
    """
    return any(text[:size] * (len(text) // size) == text for size in range(1, len(text) // 2 + 1))


def _overlaps_itself(text: str) -> bool:
    """Whether a text goes on after less than half of it as it began (`あああ`, `ababab`).

    Where such a text stands twice, overlapping, `tokenizers` and SentencePiece would choose differently between
    the ways to make it.
    """
    return any(text.startswith(text[start:]) for start in range(1, (len(text) + 1) // 2))
