"""What an evaluate stage measured, and what changed against the base."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from moyai.errors import InputFileError

SCORES_NAME = "scores.json"

# The languages of every model card, and the first columns of every table.
LANGUAGES = ("ja", "en")

# Share of right answers that guessing gives: the starter quiz has five choices in balanced positions.
GUESSING = {"starter": 0.2}

Verdict = Literal["better", "worse", "same"]


class Quiz(BaseModel):
    """Right answers to multiple-choice questions, with the 95 % interval of the share."""

    model_config = ConfigDict(frozen=True)

    accuracy: float
    num_correct: int
    num_questions: int
    interval: tuple[float, float]

    def holds(self, share: float) -> bool:
        """Whether `share` lies within the interval."""
        return self.interval[0] <= share <= self.interval[1]

    def overlaps(self, other: Quiz) -> bool:
        """Whether the two intervals have a share in common."""
        return self.interval[0] <= other.interval[1] and other.interval[0] <= self.interval[1]


class ModelScores(BaseModel):
    """All that one suite says of one checkpoint; the keys of the dictionaries are languages."""

    model_config = ConfigDict(frozen=True)

    name: str
    bits_per_byte: dict[str, float] = {}
    num_documents: dict[str, int] = {}
    characters_per_token: dict[str, float] = {}
    quiz: Quiz | None = None
    expert_load: dict[str, tuple[tuple[float, ...], ...]] | None = None
    """Language -> for each layer, the share of tokens that each expert is given."""


class SuiteScores(BaseModel):
    """`scores.json`: one suite over the checkpoints of a run, in the order of the run."""

    model_config = ConfigDict(frozen=True)

    suite: str
    texts: dict[str, str] = {}
    """Language -> the corpus file whose held-out documents were read."""
    models: tuple[ModelScores, ...]


def read_scores(directory: Path) -> SuiteScores | None:
    """The scores in an artifact, or None where it has no `scores.json`.

    Raises:
        InputFileError: the file is there and is not what an evaluate stage writes.
    """
    path = directory / SCORES_NAME
    try:
        return SuiteScores.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputFileError(
            f"{path} does not hold scores ({error.error_count()} problems)",
            hint="run the evaluate stage again",
        ) from None


@dataclass(frozen=True)
class Change:
    """A figure before and after, and whether the change is to the good."""

    before: float
    after: float
    lower_is_better: bool

    @property
    def relative(self) -> float:
        """(after - before) / before, NaN where that has no meaning."""
        if not self.before or not math.isfinite(self.before) or not math.isfinite(self.after):
            return math.nan
        return (self.after - self.before) / self.before

    @property
    def ratio(self) -> float:
        """How many times the figure before."""
        return 1 + self.relative

    @property
    def verdict(self) -> Verdict:
        """`same` where the printed percentage would be 0.0."""
        if abs(self.relative) < 0.0005 or (math.isnan(self.relative) and math.isfinite(self.after)):
            return "same"
        return "better" if (self.after < self.before) == self.lower_is_better else "worse"


@dataclass(frozen=True)
class Measured:
    """One figure of one checkpoint; no change for the base itself."""

    value: float
    change: Change | None


@dataclass(frozen=True)
class ScoreRow:
    """One checkpoint's line of the results table."""

    name: str
    bits_per_byte: dict[str, Measured]
    characters_per_token: dict[str, Measured]
    quiz: Quiz | None


def score_rows(scores: tuple[ModelScores, ...]) -> tuple[ScoreRow, ...]:
    """The results table; the first checkpoint is what the others are compared with."""
    if not scores:
        return ()
    base = scores[0]
    return tuple(
        ScoreRow(
            name=model.name,
            bits_per_byte=_measured(
                base.bits_per_byte, model.bits_per_byte, model is base, lower_is_better=True
            ),
            characters_per_token=_measured(
                base.characters_per_token, model.characters_per_token, model is base, lower_is_better=False
            ),
            quiz=model.quiz,
        )
        for model in scores
    )


def _measured(
    before: dict[str, float], after: dict[str, float], is_base: bool, *, lower_is_better: bool
) -> dict[str, Measured]:
    return {
        language: Measured(
            value,
            None if is_base or language not in before else Change(before[language], value, lower_is_better),
        )
        for language, value in after.items()
    }
