"""What training a vocabulary from nothing takes, and whether the model has a row for each of its ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moyai.errors import InputFileError, RecipeError
from moyai.plan.source_use import SourceUse
from moyai.recipe.tokenizer_settings import TrainTokenizerSettings, vocab_size_problem
from moyai.tokenizer.unigram.borrowed import borrowed_pieces

# Measured on 11 million characters with 34,000 pieces; learning merges for an extension is the unit of time.
_BYTES_PER_CHARACTER, _SLOWNESS = 50, 2


def check_vocab_size(stage: str, settings: TrainTokenizerSettings, vocab_size: int) -> tuple[str, ...]:
    """Check that the ids, borrowed ones counted, fit; a warning where the model that lends pieces is not on this machine.

    Raises:
        RecipeError: they do not.
    """
    num_borrowed = 0
    if settings.borrow is not None:
        try:
            num_borrowed = len(borrowed_pieces(Path(settings.borrow).expanduser()))
        except InputFileError as error:
            return (f"{stage}: {error}; whether architecture.vocab_size fits is not known",)
    problem = vocab_size_problem(vocab_size, settings.num_ids + num_borrowed)
    if problem:
        raise RecipeError(f"{problem} ({num_borrowed} of them borrowed)", hint="correct architecture.vocab_size")
    return ()


def unigram_cost(settings: TrainTokenizerSettings, sources: Sequence[SourceUse]) -> tuple[int, int]:
    """Memory in bytes besides the process, and the work in characters from which merges are learnt in the same time."""
    sampled = [
        min(settings.sample_characters, sum(use.characters or 0 for use in sources if use.source in stage.corpus))
        for stage in settings.stages
    ]
    return _BYTES_PER_CHARACTER * max(sampled), _SLOWNESS * sum(sampled)
