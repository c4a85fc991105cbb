"""Recipes without a base: what they begin with, and what does not fit is told before anything runs."""

from __future__ import annotations

import re

import pytest

from moyai.errors import RecipeError
from moyai.recipe.load import parse_recipe
from moyai.recipe.recipe import Recipe
from moyai.recipe.settings import InitSettings
from moyai.recipe.tokenizer_settings import TrainTokenizerSettings, vocab_size_problem

ARCHITECTURE = (
    "architecture: {family: llama, vocab_size: 2280, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,"
    " num_attention_heads: 2, num_key_value_heads: 1, head_dim: 4, tie_word_embeddings: true}\n"
)
TOKENIZER = "  - train_tokenizer: {stages: [{corpus: en, pieces: 5e2}, {corpus: [ja, b.txt], pieces: 1500}]}\n"
PRETRAIN = "  - pretrain: {corpus: a.txt, tokens: 4096}\n"


def parse(stages: str = TOKENIZER + PRETRAIN, head: str = ARCHITECTURE) -> Recipe:
    text = f"moyai: 1\nname: nothing\n{head}sources: {{en: en.jsonl, ja: ja.jsonl}}\nstages:\n{stages}"
    return parse_recipe(text, where="nothing.yaml")


def fault(stages: str = TOKENIZER + PRETRAIN, head: str = ARCHITECTURE) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(stages, head)
    assert caught.value.exit_code == 2
    return f"{caught.value} / {caught.value.hint}"


def test_the_drawn_model_comes_after_its_vocabulary() -> None:
    recipe = parse(head=ARCHITECTURE + "seed: 5\n")
    steps = {step.name: step for step in recipe.steps()}
    assert list(steps) == ["train_tokenizer", "init", "pretrain"]
    assert steps["train_tokenizer"].inputs == ()
    assert steps["init"].inputs == ("train_tokenizer",)
    assert steps["init"].settings == InitSettings(architecture=recipe.architecture, seed=5)
    assert steps["pretrain"].inputs == ("init",)


def test_settings_as_people_write_them() -> None:
    ((_, settings), _) = parse().stages
    assert isinstance(settings, TrainTokenizerSettings)
    assert [stage.pieces for stage in settings.stages] == [500, 1500]
    assert [stage.corpus for stage in settings.stages] == [("en.jsonl",), ("ja.jsonl", "b.txt")], "names of sources"
    assert settings.num_ids == 2280


def test_a_stage_of_its_own_name() -> None:
    recipe = parse(TOKENIZER.replace("{stages", "{name: vocabulary, stages") + PRETRAIN)
    assert [step.name for step in recipe.steps()] == ["vocabulary", "init", "pretrain"]


@pytest.mark.parametrize(
    ("stages", "head", "said"),
    [
        (PRETRAIN, ARCHITECTURE, "its first stage, and no other, is train_tokenizer"),
        (TOKENIZER + PRETRAIN + TOKENIZER.replace("{stages", "{name: second, stages"), ARCHITECTURE, "and no other, is"),
        (TOKENIZER, "", "needs an architecture, whose weights are drawn"),
        (TOKENIZER, "base: owner/model\n", "'train_tokenizer' trains a vocabulary, but the base has one: leave out base"),
        (PRETRAIN, "base: owner/model\nseed: 3\n", "seed is 3, but no weights are drawn where there is a base"),
        (TOKENIZER.replace("1500", "900"), ARCHITECTURE, "vocab_size 2280, but the tokenizer will have 1680 ids: it must"),
        (TOKENIZER.replace("{stages", "{name: init, stages"), ARCHITECTURE, "called 'init', as the drawn model is"),
        ("  - train_tokenizer: {stages: []}\n", ARCHITECTURE, "'train_tokenizer.stages' is ()"),
        ("  - train_tokenizer: {stages: [{corpus: a.txt}]}\n", ARCHITECTURE, "pieces"),
        ("  - train_tokenizer: {stages: [{corpus: a.txt, pieces: 9, piece: 1}]}\n", ARCHITECTURE, "piece"),
    ],
)
def test_what_does_not_fit_is_told(stages: str, head: str, said: str) -> None:
    assert re.search(re.escape(said), fault(stages, head))


def test_borrowed_pieces_are_counted_later() -> None:
    assert parse(TOKENIZER.replace("{stages", "{borrow: tokenizer.model, stages")).steps()


@pytest.mark.parametrize(("vocab_size", "fits"), [(1000, True), (999, False), (1008, True), (1024, True), (1025, False)])
def test_rows_to_spare(vocab_size: int, fits: bool) -> None:
    assert (vocab_size_problem(vocab_size, 1000) == "") == fits
