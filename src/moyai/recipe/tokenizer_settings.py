"""What a recipe says of vocabularies: extending one, and training one from nothing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from moyai.recipe.setting_types import Count, Sources
from moyai.recipe.stage_settings import Kind, StageSettings

NUM_FIXED_TOKENS = 280
"""Ids that every vocabulary trained from nothing begins with: 8 special tokens, 256 bytes, 16 runs of spaces."""

_LARGEST_PADDING = 128

RowInit = Literal["mean", "first", "focus", "calibrated", "best"]
"""How the rows of new pieces are made; see `moyai.checkpoint.new_rows`, `focus_rows` and `calibrated_rows`."""


class ExtendSettings(StageSettings):
    """Learn new vocabulary pieces on top of the base tokenizer and give them embedding rows."""

    corpus: Sources = Field(description="Where the pieces are learnt: a file or starter:NAME, or a list of them.")
    pieces: Count = Field(description="How many new pieces, exactly.")
    min_frequency: Count = Field(default=2, description="A pair seen less often is not merged.")
    max_characters: Count = Field(default=16, description="Length of the longest new piece.")
    segmentation: Literal["none", "words"] = Field(
        default="none", description="words: a Japanese segmenter cuts the text first, and no piece straddles a cut."
    )
    init: RowInit = Field(
        default="mean",
        description="How the rows of new pieces are made of the old ones. mean: of the pieces that one replaces."
        "  first: the head's is that of the first of them; for a head that is not the embedding.  focus: of pieces in like"
        " surroundings.  calibrated: as probable as the piece is frequent.  best: whichever predicts held-out text best.",
    )
    pad_vocab_to: Count = Field(default=8, description="The embedding has a multiple of this many rows.")
    compare_with: Sources | None = Field(
        default=None, description="Tokenizers that the report compares it with: directories, tokenizer.json or .model files."
    )


class TokenizerStage(BaseModel):
    """One step of training a vocabulary: pieces of one language on top of those there are."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    corpus: Sources = Field(description="Text of this language.")
    pieces: Count = Field(description="How many pieces it adds, exactly, mandatory ones counted.")
    mandatory: Sources | None = Field(default=None, description="Files with a piece on each line that must be there.")


class TrainTokenizerSettings(StageSettings):
    """Train a Unigram vocabulary with byte fallback from nothing, language after language."""

    produces: ClassVar[Kind] = "tokenizer"

    stages: tuple[TokenizerStage, ...] = Field(min_length=1, description="One for each language, in order.")
    borrow: str | None = Field(default=None, description="A tokenizer.model whose pieces come first, in their order.")
    max_characters: Count = Field(default=16, description="Length of the longest piece that is learnt.")
    sample_characters: Count = Field(
        default=50_000_000, description="Of a stage's text at most so much is looked at; of more, a sample."
    )
    seed: int = Field(default=0, description="Of the sample.")
    compare_with: Sources | None = Field(
        default=None, description="Tokenizers that the report compares it with: directories, tokenizer.json or .model files."
    )

    @field_validator("stages", mode="before")
    @classmethod
    def _list_is_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def num_ids(self) -> int:
        """Ids of the vocabulary, without the pieces that are borrowed."""
        return NUM_FIXED_TOKENS + sum(stage.pieces for stage in self.stages)


def vocab_size_problem(vocab_size: int, num_ids: int) -> str:
    """What is wrong with an architecture's `vocab_size` for a tokenizer of so many ids; empty where nothing is.

    It may have rows to spare up to a multiple of 128, not more: a wrong number should be told.

    >>> vocab_size_problem(99584, 99574)
    ''
    >>> vocab_size_problem(32000, 8280)
    'architecture has vocab_size 32000, but the tokenizer will have 8280 ids: it must be from 8280 to 8320'
    """
    most = -(-num_ids // _LARGEST_PADDING) * _LARGEST_PADDING
    if num_ids <= vocab_size <= most:
        return ""
    told = f"it must be from {num_ids} to {most}" if most > num_ids else f"it must be {num_ids}"
    return f"architecture has vocab_size {vocab_size}, but the tokenizer will have {num_ids} ids: {told}"
