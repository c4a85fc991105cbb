"""The course of one training stage, step by step."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from moyai.errors import InputFileError

TRAINING_LOG_NAME = "training_log.jsonl"


class TrainingPoint(BaseModel):
    """One line of `training_log.jsonl`; `tokens` and `seconds` are those of this step alone."""

    model_config = ConfigDict(frozen=True)

    step: int
    tokens: float
    loss: float
    balance_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    seconds: float | None = None


def read_training_log(directory: Path) -> tuple[TrainingPoint, ...]:
    """Every logged step of a training artifact; empty where it has no log.

    Raises:
        InputFileError: a line is not a logged step.
    """
    path = directory / TRAINING_LOG_NAME
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    points = []
    for number, line in enumerate(lines, start=1):
        try:
            points.append(TrainingPoint.model_validate_json(line))
        except ValidationError:
            raise InputFileError(f"{path} line {number} is not a logged training step") from None
    return tuple(points)


def smoothed(values: list[float], *, weight: float = 0.7) -> list[float]:
    """Exponential running mean, corrected for its start so that the first value is the first value.

    >>> [round(value, 2) for value in smoothed([4.0, 4.0, 2.0])]
    [4.0, 4.0, 3.09]
    """
    means: list[float] = []
    total = share = 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        share = weight * share + (1 - weight)
        means.append(total / share)
    return means
