"""Our scores are what transformers gives, one sequence at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.conftest import FAMILIES
from moyai.corpus.reading.documents import Document
from moyai.evaluation.bits_per_byte import first_characters, score_texts
from moyai.evaluation.quiz import Question, score_quiz
from moyai.evaluation.scorer import Scorer
from moyai.forest.tree import choice_tree, sequence_tree
from moyai.progress import SilentProgress
from moyai.tokenizer.text import TextTokenizer
from tiny import ENGLISH

CPU = torch.device("cpu")
NaiveLogProbs = Callable[[str, list[int]], list[float]]
TEXTS = [
    ENGLISH,
    "舟を岸に寄せ、綱で結ぶ。潮は一日に二度、満ちては引く。",
    "🙂 half and 半分\n\n123",
    ENGLISH * 3,
    "a",
]
QUESTIONS = [
    Question("舟を岸に結ぶものは何ですか。", ("綱", "潮の満ち引き", "風"), 0),
    Question("What holds the boat?", ("the tide", "a rope", "a", "nothing at all, ever"), 1),
    Question("どれ？", ("これ", "あれ"), 1),
]


def bar() -> Any:
    return SilentProgress().bar("x", total=1, unit="tokens")


@pytest.mark.parametrize("family", FAMILIES)
def test_bits_per_byte_equals_the_naive_computation(
    family: str, checkpoints: dict[str, Path], naive_log_probs: NaiveLogProbs
) -> None:
    tokenizer = TextTokenizer(checkpoints[family])
    with bar() as shown:
        ours = score_texts(Scorer(checkpoints[family], CPU), tokenizer, TEXTS, shown)
    nats = tokens = 0.0
    for text in TEXTS:
        ids = tokenizer.encode(text)
        nats -= sum(naive_log_probs(family, [tokenizer.document_start, *ids]))
        tokens += len(ids)
    num_bytes = sum(len(text.encode("utf-8")) for text in TEXTS)
    assert ours.bits_per_byte == pytest.approx(nats / math.log(2) / num_bytes, abs=1e-4)
    assert (ours.num_documents, ours.num_bytes, ours.num_tokens) == (len(TEXTS), num_bytes, tokens)
    assert ours.characters_per_token == pytest.approx(sum(map(len, TEXTS)) / tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_score_of_a_document_does_not_depend_on_its_neighbours(family: str, checkpoints: dict[str, Path]) -> None:
    tokenizer, scorer = TextTokenizer(checkpoints[family]), Scorer(checkpoints[family], CPU)
    trees = [sequence_tree([tokenizer.document_start, *tokenizer.encode(text)]) for text in TEXTS]
    with bar() as shown:
        together = scorer.log_probs(trees, shown)
        alone = [scorer.log_probs([tree], shown)[0] for tree in trees]
        backwards = scorer.log_probs(trees[::-1], shown)[::-1]
    for first, second, third in zip(together, alone, backwards, strict=True):
        assert first[0] == pytest.approx(second[0], abs=1e-3)
        assert first[0] == pytest.approx(third[0], abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_choices_score_what_their_sequences_score_alone(
    family: str, checkpoints: dict[str, Path], naive_log_probs: NaiveLogProbs
) -> None:
    tokenizer, scorer = TextTokenizer(checkpoints[family]), Scorer(checkpoints[family], CPU)
    trees, expected, predictions = [], [], []
    for question in QUESTIONS:
        context = [tokenizer.document_start, *tokenizer.encode(f"質問：{question.question}\n回答：")]
        choices = [tokenizer.encode(choice) for choice in question.choices]
        trees.append(choice_tree(context, choices))
        sums = [sum(naive_log_probs(family, context + choice)[len(context) - 1 :]) for choice in choices]
        expected.append(sums)
        predictions.append(max(range(len(sums)), key=lambda number: sums[number]))
    with bar() as shown:
        ours = scorer.log_probs(trees, shown)
        score = score_quiz(scorer, tokenizer, QUESTIONS, shown)
    for owners, sums in zip(ours, expected, strict=True):
        assert [owners[number] for number in range(len(sums))] == pytest.approx(sums, abs=1e-3)
    assert list(score.predictions) == predictions
    right = [prediction == question.label for prediction, question in zip(predictions, QUESTIONS, strict=True)]
    assert (score.num_correct, score.num_questions) == (sum(right), 3)


def test_expert_load_counts_every_token_once(checkpoints: dict[str, Path], naive_models: dict[str, Any]) -> None:
    tokenizer, scorer = TextTokenizer(checkpoints["mixtral"]), Scorer(checkpoints["mixtral"], CPU)
    counts = torch.zeros(2, 4)
    for text in TEXTS:
        ids = torch.tensor([[tokenizer.document_start, *tokenizer.encode(text)]])
        with torch.no_grad():
            logits = naive_models["mixtral"](input_ids=ids, output_router_logits=True).router_logits
        for layer, logits_LE in enumerate(logits):
            counts[layer] += torch.bincount(logits_LE.topk(2, -1).indices.flatten(), minlength=4)
    with bar() as shown:
        scorer.reset_load()
        score_texts(scorer, tokenizer, TEXTS, shown)
        load = scorer.expert_load()
        assert load is not None
        assert torch.equal(scorer.chosen_counts, counts.long())
        for layer, expected in zip(load, (counts / counts.sum(1, keepdim=True)).tolist(), strict=True):
            assert sum(layer) == pytest.approx(1, abs=4e-4)
            assert layer == pytest.approx(expected, abs=1e-4)
        scorer.reset_load()
        score_texts(scorer, tokenizer, TEXTS[:1], shown)
        assert scorer.chosen_counts.sum() == 2 * 2 * (1 + len(tokenizer.encode(TEXTS[0])))


def test_a_dense_model_has_no_expert_load(checkpoints: dict[str, Path]) -> None:
    scorer = Scorer(checkpoints["llama"], CPU)
    with bar() as shown:
        score_texts(scorer, TextTokenizer(checkpoints["llama"]), TEXTS[:1], shown)
    assert scorer.expert_load() is None


def test_only_the_beginning_of_a_document_is_scored() -> None:
    documents = [Document("1", "舟" * 9, "heldout"), Document("2", "ab", "heldout")]
    assert first_characters(documents, 4) == ["舟" * 4, "ab"]
