"""The dimensions of a decoder-only model: all that planning needs to know of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator

from moyai.errors import InputFileError

Family = Literal["llama", "mistral", "mixtral"]

_CLASS_NAMES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
}


class Architecture(BaseModel):
    """Dimensions of a Llama, Mistral or Mixtral model, in Hugging Face's names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    family: Family
    vocab_size: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt
    head_dim: PositiveInt
    tie_word_embeddings: bool
    rms_norm_eps: PositiveFloat = 1e-5
    rope_theta: PositiveFloat = 10000.0
    max_position_embeddings: PositiveInt = 4096
    num_experts: PositiveInt = 1
    num_active_experts: PositiveInt = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.num_active_experts > self.num_experts:
            raise ValueError(
                f"num_active_experts is {self.num_active_experts}, more than the {self.num_experts} experts there are"
            )
        if (self.family == "mixtral") != (self.num_experts > 1):
            raise ValueError(f"family {self.family} does not go with {self.num_experts} experts")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        return self

    @property
    def is_moe(self) -> bool:
        """Whether the feed-forward layers are experts behind a router."""
        return self.num_experts > 1

    @property
    def class_name(self) -> str:
        """The transformers class that runs it."""
        return _CLASS_NAMES[self.family]


def architecture_from_config(config: dict[str, Any], *, where: str = "config.json") -> Architecture:
    """Read the dimensions out of a Hugging Face `config.json`, as transformers 4 or 5 writes it.

    Raises:
        InputFileError: the model type is not one that moyai knows, or a dimension is missing.
    """
    family = config.get("model_type")
    if family not in _CLASS_NAMES:
        raise InputFileError(
            f"{where} has model_type {family!r}; moyai knows {', '.join(_CLASS_NAMES)}",
            hint="convert the checkpoint to one of these families first",
        )
    rope = config.get("rope_parameters") or {}
    try:
        num_heads = config["num_attention_heads"]
        return Architecture(
            family=family,
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=num_heads,
            num_key_value_heads=config.get("num_key_value_heads") or num_heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // num_heads,
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-5)),
            rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10000.0))),
            max_position_embeddings=config.get("max_position_embeddings", 4096),
            num_experts=config["num_local_experts"] if family == "mixtral" else 1,
            num_active_experts=config["num_experts_per_tok"] if family == "mixtral" else 1,
        )
    except KeyError as missing:
        raise InputFileError(f"{where} has no {missing.args[0]!r}", hint="is it a whole checkpoint?") from None
    except ValueError as error:
        raise InputFileError(f"{where} does not describe a model: {error}") from None


def read_architecture(checkpoint_dir: Path) -> Architecture:
    """The architecture of a checkpoint directory.

    Raises:
        InputFileError: there is no readable `config.json` in it.
    """
    return architecture_from_config(read_config(checkpoint_dir), where=str(checkpoint_dir / "config.json"))


def read_config(checkpoint_dir: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint directory, as it stands.

    Raises:
        InputFileError: there is none, or it is not a JSON object.
    """
    path = checkpoint_dir / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputFileError(
            f"{checkpoint_dir} has no config.json", hint="a checkpoint directory has config.json and safetensors files"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputFileError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise InputFileError(f"{path} is not a JSON object")
    return config
