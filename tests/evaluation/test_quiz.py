"""Reading questions, and the interval around an accuracy."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from moyai.errors import InputFileError
from moyai.evaluation.quiz import Question, QuizScore, read_quiz
from moyai.recipe.sources import corpus_file


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The roots of (p - p̂)² = z² p (1 - p) / n, solved as a quadratic."""
    z2 = 1.959964**2 / total
    p = correct / total
    a, b, c = 1 + z2, -(2 * p + z2), p * p
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


@pytest.mark.parametrize(("correct", "total"), [(0, 5), (5, 5), (1, 2), (28, 140), (139, 140)])
def test_the_wilson_interval(correct: int, total: int) -> None:
    score = QuizScore(correct, total, ())
    assert score.accuracy == correct / total
    low, high = score.interval
    assert (low, high) == pytest.approx(wilson(correct, total), abs=1e-9)
    assert -1e-9 <= low <= score.accuracy <= high <= 1 + 1e-9


def test_a_known_interval() -> None:
    # scipy.stats.binomtest(10, 100).proportion_ci(method="wilson")
    assert QuizScore(10, 100, ()).interval == pytest.approx((0.0552292, 0.1743657), abs=1e-6)


def test_questions_of_one_split(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "choices": ["x", "y"], "label": 1, "split": "test"},
        {"question": "b", "choices": ["x", "y"], "label": 0, "split": "train"},
        {"question": "c", "choices": ["x", "y"], "label": 0},
    ]
    path = tmp_path / "quiz.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert read_quiz(path, split="test") == [Question("a", ("x", "y"), 1), Question("c", ("x", "y"), 0)]
    path.write_text(path.read_text(encoding="utf-8") + '\n{"question": "d", "label": 0}', encoding="utf-8")
    with pytest.raises(InputFileError, match="row 4 has no 'choices'"):
        read_quiz(path, split="test")


def test_the_starters_quiz_has_an_answer_to_every_question() -> None:
    questions = read_quiz(corpus_file("starter:quiz_ja"), split="test")
    assert len(questions) >= 100
    for question in questions:
        assert 0 <= question.label < len(question.choices)
        assert len(set(question.choices)) == len(question.choices)
        assert all(question.choices)
