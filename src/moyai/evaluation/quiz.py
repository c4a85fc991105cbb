"""Multiple choice by log-likelihood: the choice that the model finds likeliest after the question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moyai.corpus.reading.documents import read_rows
from moyai.errors import InputFileError
from moyai.evaluation.scorer import Scorer
from moyai.forest.tree import choice_tree
from moyai.progress import Bar
from moyai.tokenizer.text import TextTokenizer


@dataclass(frozen=True)
class Question:
    """A question, its choices, and which is right."""

    question: str
    choices: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class QuizScore:
    """Accuracy with its 95 % Wilson interval."""

    num_correct: int
    num_questions: int
    predictions: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        """Share of questions answered rightly."""
        return self.num_correct / self.num_questions

    @property
    def interval(self) -> tuple[float, float]:
        """95 % score interval.  Source: Wilson 1927.

        >>> [round(x, 3) for x in QuizScore(28, 140, ()).interval]
        [0.142, 0.274]
        """
        z, n, p = 1.959964, self.num_questions, self.accuracy
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return centre - half, centre + half


def read_quiz(path: Path, *, split: str) -> list[Question]:
    """The questions of one split of a quiz file.

    Raises:
        InputFileError: a row is no question.
    """
    questions = []
    for number, row in enumerate(read_rows(path), start=1):
        try:
            question = Question(row["question"], tuple(row["choices"]), row["label"])
        except KeyError as missing:
            raise InputFileError(f"{path} row {number} has no {missing.args[0]!r}") from None
        if row.get("split", split) == split:
            questions.append(question)
    return questions


def score_quiz(scorer: Scorer, tokenizer: TextTokenizer, questions: Sequence[Question], bar: Bar) -> QuizScore:
    r"""Zero-shot: `質問：…\\n回答：` and the choice; the largest summed log-probability wins, the first on a tie."""
    trees = []
    for question in questions:
        context = tokenizer.encode(f"質問：{question.question}\n回答：")
        choices = [tokenizer.encode(choice) for choice in question.choices]
        trees.append(choice_tree([tokenizer.document_start, *context], choices))
    predictions = []
    for owners in scorer.log_probs(trees, bar):
        predictions.append(max(sorted(owners), key=lambda owner: owners[owner]))
    correct = sum(p == question.label for p, question in zip(predictions, questions, strict=True))
    return QuizScore(correct, len(questions), tuple(predictions))
