"""Candidates for the pieces of one language, by SentencePiece's own Unigram trainer."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from moyai.errors import UserError
from moyai.tokenizer.unigram.layout import FIXED_TOKENS

# Expected counts are added up thread by thread, so that this number, and not the machine's, decides the last digit.
_NUM_THREADS = 16
_COVERAGE = 0.9995
# A longer line is cut: a line is the unit of the trainer's work.
_LINE_CHARACTERS = 4000


def learn_candidates(texts: Sequence[str], *, num_pieces: int, max_characters: int) -> dict[str, float]:
    """About `num_pieces` pieces, or as many as the texts yield or have characters, with their log-probabilities.

    Characters that make up 99.95 % of the texts are all among them.  No piece holds a line end, more than one digit, or
    a space but in front.  Same texts and numbers: same pieces.

    Raises:
        UserError: there is no text.
    """
    if not any(texts):
        raise UserError("there is no text to learn pieces from", hint="give documents that are not held out")
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    num_characters = len(set().union(*texts))
    SentencePieceTrainer.train(
        sentence_iterator=_lines(texts),
        model_writer=model,
        model_type="unigram",
        # One more is <unk>; the trainer refuses to have fewer than the characters.
        vocab_size=max(num_pieces, num_characters) + 1,
        hard_vocab_limit=False,
        character_coverage=_COVERAGE,
        normalization_rule_name="identity",
        # Texts are cut into lines here only, so a line's beginning is not a text's.
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        max_sentencepiece_length=max_characters,
        max_sentence_length=4 * _LINE_CHARACTERS,
        bos_id=-1,
        eos_id=-1,
        num_threads=_NUM_THREADS,
        minloglevel=2,
    )
    learnt = SentencePieceProcessor(model_proto=model.getvalue())
    pieces = ((learnt.id_to_piece(i), learnt.get_score(i)) for i in range(len(learnt)) if not learnt.is_unknown(i))
    return {piece: score for piece, score in pieces if piece not in FIXED_TOKENS}


def _lines(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            for start in range(0, len(line), _LINE_CHARACTERS):
                yield line[start : start + _LINE_CHARACTERS]
