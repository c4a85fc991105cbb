"""A tiny dense parent, random but the same in every run, written by the safetensors library."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from moyai.checkpoint.layout import expected_tensors
from moyai.recipe.architecture import Architecture

TINY = Architecture(
    family="llama",
    vocab_size=48,
    hidden_size=16,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    tie_word_embeddings=False,
)


@pytest.fixture
def tiny() -> Architecture:
    return TINY


@pytest.fixture
def make_parent(tmp_path):
    """Writes a float32 checkpoint of an architecture and returns its directory."""

    def make(architecture: Architecture = TINY, name: str = "parent") -> Path:
        directory = tmp_path / name
        directory.mkdir()
        rng = np.random.Generator(np.random.Philox(7))
        tensors = {
            name: (rng.standard_normal(shape, np.float32) * 0.3 + (1.0 if "norm" in name else 0.05))
            for name, shape in expected_tensors(architecture).items()
        }
        save_file(
            {name: value.astype(np.float32) for name, value in tensors.items()},
            directory / "model.safetensors",
        )
        config = {
            "model_type": architecture.family,
            "vocab_size": architecture.vocab_size,
            "hidden_size": architecture.hidden_size,
            "intermediate_size": architecture.intermediate_size,
            "num_hidden_layers": architecture.num_hidden_layers,
            "num_attention_heads": architecture.num_attention_heads,
            "num_key_value_heads": architecture.num_key_value_heads,
            "tie_word_embeddings": architecture.tie_word_embeddings,
            "rms_norm_eps": architecture.rms_norm_eps,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        (directory / "config.json").write_text(json.dumps(config))
        return directory

    return make
