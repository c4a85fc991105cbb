"""The plan of a recipe that starts from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from moyai.errors import RecipeError
from moyai.plan.corpus_size import TRAINED_RATES
from moyai.plan.parameters import count_parameters
from moyai.plan.plan import plan_recipe
from moyai.recipe.load import parse_recipe
from moyai.recipe.recipe import Recipe
from tiny import write_tiny_sentencepiece


def recipe(settings: str = "", vocab_size: int = 2280) -> Recipe:
    text = f"""
moyai: 1
name: nothing
architecture: {{family: llama, vocab_size: {vocab_size}, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2,
  num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16, tie_word_embeddings: false}}
stages:
  - train_tokenizer: {{stages: [{{corpus: "starter:ja_text", pieces: 2000}}]{settings}}}
  - pretrain: {{corpus: "starter:ja_text", tokens: 4096}}
"""
    return parse_recipe(text, where="nothing.yaml")


def test_what_is_read_and_written() -> None:
    plan = plan_recipe(recipe())
    tokenizer, init, pretrain = plan.stages
    assert plan.base == "drawn weights"
    assert plan.warnings == ()
    assert [use.source for use in tokenizer.sources] == ["starter:ja_text"]
    assert tokenizer.flops == init.flops == 0
    assert tokenizer.seconds > 0
    assert init.total_parameters == count_parameters(recipe().architecture).total  # type: ignore[arg-type]
    assert init.written_bytes == pytest.approx(4 * init.total_parameters, rel=0.05, abs=6e6), "weights are float32"
    size = pretrain.sources[0]
    assert size.characters is not None
    assert size.source_tokens is not None
    assert size.characters / size.source_tokens == pytest.approx(TRAINED_RATES.japanese, rel=0.1)


def test_more_text_than_a_sample_takes_no_longer() -> None:
    whole, sample = (plan_recipe(recipe(f", sample_characters: {n}")).stages[0] for n in (10**6, 10_000))
    assert sample.seconds < whole.seconds
    assert sample.memory_bytes < whole.memory_bytes


def test_borrowed_pieces_count(tmp_path: Path) -> None:
    write_tiny_sentencepiece(tmp_path, "bpe")
    borrow = f", borrow: {tmp_path}/tokenizer.model"
    with pytest.raises(RecipeError, match=r"vocab_size 9999, but the tokenizer will have \d+ ids.*of them borrowed"):
        plan_recipe(recipe(borrow, vocab_size=9999))
    assert plan_recipe(recipe(borrow, vocab_size=2560)).warnings == ()


def test_what_is_not_on_this_machine_is_a_warning() -> None:
    (warning,) = plan_recipe(recipe(", borrow: none.model", vocab_size=9999)).warnings
    assert "none.model cannot be read" in warning
    assert "whether architecture.vocab_size fits is not known" in warning
