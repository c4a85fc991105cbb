"""evaluate: bits per byte, quiz accuracy and expert load of every checkpoint, always on the same documents."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from moyai.corpus.reading.documents import Document
from moyai.corpus.reading.read import named_documents
from moyai.errors import UserError
from moyai.evaluation.bits_per_byte import first_characters, score_texts
from moyai.evaluation.quiz import Question, read_quiz, score_quiz
from moyai.evaluation.scorer import Scorer
from moyai.progress import Bar
from moyai.recipe.settings import EvaluateSettings
from moyai.recipe.sources import corpus_file
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.tokenizer.text import TextTokenizer
from moyai.training.precision import keep_large_blocks, pick_device

REVISION = 2

_QUIZ = "starter:quiz_ja"


@dataclass(frozen=True)
class _Suite:
    documents: Mapping[str, list[Document]]
    questions: list[Question]
    max_characters: int


def outside(settings: EvaluateSettings, cache_dir: Path) -> dict[str, str]:
    """Hashes of the texts and the quiz."""
    return file_hashes([*settings.texts.values(), _QUIZ])


def run(settings: EvaluateSettings, context: StageContext) -> dict[str, Any]:
    """Score each input; what is scored already, before a crash, is kept."""
    keep_large_blocks()
    suite = _suite(settings)
    context.resume_dir.mkdir(exist_ok=True)
    scores = []
    for name, checkpoint_dir in context.inputs.items():
        part = context.resume_dir / f"{name}.json"
        if not part.exists():
            score = {"name": name, **_score(checkpoint_dir, suite, name, context)}
            partial = part.with_suffix(".partial")
            partial.write_text(json.dumps(score, ensure_ascii=False), encoding="utf-8")
            partial.replace(part)
        scores.append(json.loads(part.read_text(encoding="utf-8")))
    named = {
        language: [document.id for document in documents] for language, documents in suite.documents.items()
    }
    result = {
        "suite": settings.suite,
        "texts": settings.texts,
        "max_characters": settings.max_characters,
        "documents": named,
        "models": scores,
    }
    (context.out_dir / "scores.json").write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")
    return {"suite": settings.suite, "models": [score["name"] for score in scores]}


def _suite(settings: EvaluateSettings) -> _Suite:
    documents = {}
    for language, name in settings.texts.items():
        most = [number for number in (settings.max_documents, settings.limit) if number is not None]
        held_out = list(islice(named_documents(name, "heldout"), min(most, default=None)))
        if not held_out:
            raise UserError(f"{name} has no held-out document", hint='give rows "split": "heldout", or more documents')
        documents[language] = held_out
    questions = read_quiz(corpus_file(_QUIZ), split="test")[: settings.limit]
    return _Suite(documents, questions, settings.max_characters)


def _score(checkpoint_dir: Path, suite: _Suite, name: str, context: StageContext) -> dict[str, Any]:
    tokenizer = TextTokenizer(checkpoint_dir)
    texts = {
        language: first_characters(documents, suite.max_characters)
        for language, documents in suite.documents.items()
    }
    total = sum(len(tokenizer.encode(text)) + 1 for group in texts.values() for text in group)
    total += sum(_question_tokens(tokenizer, question) for question in suite.questions)
    scorer = Scorer(checkpoint_dir, pick_device())
    with context.progress.bar(f"evaluate {name}", total=total, unit="tokens") as bar:
        score = _score_texts(scorer, tokenizer, texts, bar)
        quiz = score_quiz(scorer, tokenizer, suite.questions, bar)
    del scorer
    gc.collect()
    score["quiz"] = {
        "accuracy": quiz.accuracy,
        "num_correct": quiz.num_correct,
        "num_questions": quiz.num_questions,
        "interval": list(quiz.interval),
        "predictions": list(quiz.predictions),
    }
    return score


def _question_tokens(tokenizer: TextTokenizer, question: Question) -> int:
    return len(tokenizer.encode(question.question)) + sum(len(tokenizer.encode(c)) for c in question.choices)


def _score_texts(
    scorer: Scorer, tokenizer: TextTokenizer, texts: Mapping[str, list[str]], bar: Bar
) -> dict[str, Any]:
    score: dict[str, dict[str, Any]] = {
        key: {} for key in ("bits_per_byte", "characters_per_token", "num_documents", "num_bytes", "expert_load")
    }
    for language, group in texts.items():
        scorer.reset_load()
        text_score = score_texts(scorer, tokenizer, group, bar)
        for key in ("bits_per_byte", "characters_per_token", "num_documents", "num_bytes"):
            score[key][language] = getattr(text_score, key)
        load = scorer.expert_load()
        if load is not None:
            score["expert_load"][language] = load
    return {**score, "expert_load": score["expert_load"] or None}
