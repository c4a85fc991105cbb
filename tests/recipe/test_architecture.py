"""The dimensions of a model, out of a config.json of transformers 4 or 5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import LlamaConfig, MixtralConfig

from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, architecture_from_config, read_architecture

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 8192,
}


def test_transformers_4_and_5_say_the_same() -> None:
    four = architecture_from_config({**LLAMA, "rope_theta": 100000.0, "rope_scaling": None})
    five = architecture_from_config(
        {**LLAMA, "head_dim": 64, "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}}
    )
    assert four == five
    assert (four.head_dim, four.rope_theta, four.class_name, four.is_moe) == (64, 100000.0, "LlamaForCausalLM", False)


@pytest.mark.parametrize("config_class", [LlamaConfig, MixtralConfig])
def test_a_config_written_by_the_installed_transformers(tmp_path: Path, config_class: type) -> None:
    config = config_class(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    found = read_architecture(tmp_path)
    assert (found.family, found.head_dim, found.rope_theta) == (config.model_type, 8, 5000.0)
    assert found.num_experts == getattr(config, "num_local_experts", 1)
    assert found.num_active_experts == getattr(config, "num_experts_per_tok", 1)


def test_defaults_that_old_configs_leave_out() -> None:
    config = {key: LLAMA[key] for key in LLAMA if key not in ("num_key_value_heads", "tie_word_embeddings")}
    found = architecture_from_config({**config, "head_dim": None})
    assert (found.num_key_value_heads, found.head_dim, found.tie_word_embeddings) == (9, 64, False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'; moyai knows llama, mistral, qwen2, qwen3, mixtral, qwen2_moe"),
        ({"model_type": None}, "model_type None"),
        ({"vocab_size": -1}, "does not describe a model"),
        ({"num_attention_heads": 10, "head_dim": 64}, "multiple of num_key_value_heads"),
        ({"model_type": "mixtral"}, "has no 'num_local_experts'"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "more than the 2 experts"),
    ],
)
def test_a_config_that_describes_no_known_model(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputFileError, match=said):
        architecture_from_config({**LLAMA, **changes}, where="here/config.json")


def test_a_missing_dimension_is_named() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "hidden_size"}
    with pytest.raises(InputFileError, match=r"here/config\.json has no 'hidden_size'"):
        architecture_from_config(config, where="here/config.json")


@pytest.mark.parametrize(
    ("content", "said"), [(None, "has no config.json"), ("{", "is not JSON"), ("[]", "not a JSON object")]
)
def test_a_config_that_cannot_be_read(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputFileError, match=said):
        read_architecture(tmp_path)


def test_dense_families_have_no_experts() -> None:
    sizes = architecture_from_config(LLAMA).model_dump()
    with pytest.raises(ValidationError, match="does not go with 4 experts"):
        Architecture(**{**sizes, "num_experts": 4})
    assert json.loads(json.dumps(sizes))["family"] == "llama"
