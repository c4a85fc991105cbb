"""What a recipe says of text: where it comes from, what is kept of it, and how much of each source is used."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, field_validator, model_validator

from moyai.recipe.setting_types import Count, Sources
from moyai.recipe.stage_settings import Kind, StageSettings


def _source(value: Any) -> Any:
    return {"files": value} if isinstance(value, str | list) else value


def _amount(value: Any) -> Any:
    return {"share": float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else value


def _mixture(value: Any) -> Any:
    return {value: 1.0} if isinstance(value, str) else value


# Names that other things in the directory of a packed corpus have, or may have.
_RESERVED_NAMES = ("dropped", "heldout", "resume")
_RESERVED_SUFFIXES = (".json", ".jsonl", ".partial")

Language = Literal["ja", "en"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class CorpusSource(_Settings):
    """Files of one kind: where they are, which columns matter, and what is kept of them."""

    files: Sources = Field(
        description="Paths, globs, starter:NAME, or hub:OWNER/NAME[@REVISION][/CONFIG]:SPLIT; .jsonl, .parquet or .txt,"
        " also with .gz or .zst."
    )
    text: str = Field(default="text", description="The column that holds the text.")
    id: str | None = Field(default=None, description="The column that holds a document's id; default: file and line.")
    render: Literal["text", "instructions"] = Field(
        default="text",
        description="text: the column is a document.  instructions: rows are questions and answers, conversations or"
        " raw texts with pairs, written out as text for instruction pre-training.",
    )
    language: Language | None = Field(default=None, description="Documents of another language are dropped.")
    filters: Literal["none", "web", "book"] = Field(
        default="none", description="Which rules of quality apply; web and book want a language."
    )
    max_documents: Count | None = Field(default=None, description="Only the first so many documents of each file.")

    @model_validator(mode="after")
    def _filters_know_the_language(self) -> Self:
        if self.filters != "none" and self.language is None:
            raise ValueError(f"filters is {self.filters}, whose rules differ by language; say language: ja or en")
        return self


SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
CorpusSources = Annotated[
    dict[SourceName, Annotated[CorpusSource, BeforeValidator(_source)]], Field(min_length=1)
]
"""Sources by a name of their own, which becomes that of a directory; a file alone is short for `{files: FILE}`."""


class DuplicateSettings(_Settings):
    """Which documents count as the same."""

    exact: bool = Field(default=True, description="Drop a document whose text is another's, white space aside.")
    near: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=0.8, description="Drop a document whose character n-grams overlap another's by about this (Jaccard)."
    )
    ngram: Count = Field(default=5, description="Length of the n-grams that are compared, in characters.")
    permutations: Count = Field(default=128, description="Length of a MinHash signature.")


class ContaminationSettings(_Settings):
    """Which evaluation texts must not stand in the corpus."""

    files: Sources = Field(description="Evaluation sets: files, globs or directories; every text in them counts.")
    characters: Count = Field(default=20, description="Length of a shared run that is a hit, where the text is Japanese.")
    words: Count = Field(default=13, description="Length of a shared run that is a hit, where the text has words.")
    action: Literal["report", "drop"] = Field(default="report", description="What happens to a document with a hit.")


class SourceAmount(_Settings):
    """How much of a source is used; exactly one of these."""

    share: PositiveFloat | None = Field(default=None, description="Its part of all tokens, beside the other shares.")
    tokens: Count | None = Field(default=None, description="So many tokens.")
    epochs: PositiveFloat | None = Field(default=None, description="So many times all of it.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [key for key in ("share", "tokens", "epochs") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"a source's amount is one of share, tokens and epochs, not {' and '.join(given) or 'none'}")
        return self


Mixture = Annotated[
    dict[str, Annotated[SourceAmount, BeforeValidator(_amount)]],
    BeforeValidator(_mixture),
    Field(min_length=1),
]
"""Sources with their amounts; a number is short for `{share: NUMBER}`, a name alone for all of it."""


class PrepareSettings(StageSettings):
    """Read sources, drop what should not be learnt, and pack the rest into token shards."""

    produces: ClassVar[Kind] = "corpus"

    sources: CorpusSources = Field(description="{name: file, or {files: [...], language: ja, filters: web, ...}}")
    broken: Literal["stop", "drop"] = Field(
        default="stop", description="A line or document that cannot be read stops the stage, or is dropped and counted."
    )
    duplicates: DuplicateSettings = DuplicateSettings()
    contamination: ContaminationSettings | None = Field(default=None, description="Default: not looked for.")
    shard_bytes: Count = Field(default=2_000_000_000, description="Largest size of one token file.")
    dropped_samples: Count = Field(default=100, description="So many dropped documents of each reason are kept to look at.")
    seed: int = 0

    @field_validator("sources")
    @classmethod
    def _names_are_free(cls, sources: dict[str, CorpusSource]) -> dict[str, CorpusSource]:
        seen: dict[str, str] = {}
        for name in sources:
            folded = name.casefold()
            if folded in _RESERVED_NAMES or folded.endswith(_RESERVED_SUFFIXES):
                raise ValueError(
                    f"a source cannot be called {name}; {', '.join(_RESERVED_NAMES)} and names that end in"
                    f" {', '.join(_RESERVED_SUFFIXES)} are those of other files of the corpus"
                )
            if folded in seen:
                raise ValueError(
                    f"the sources {seen[folded]} and {name} differ in upper and lower case only,"
                    " and are one directory on some disks"
                )
            seen[folded] = name
        return sources
