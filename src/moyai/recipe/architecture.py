"""The dimensions of a decoder-only model: all that planning needs to know of a checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from moyai.errors import InputFileError

Family = Literal["llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe"]


@dataclass(frozen=True)
class _Traits:
    """What sets a family apart, besides its dimensions."""

    class_name: str
    is_moe: bool = False
    has_qkv_bias: bool = False
    has_qk_norm: bool = False
    has_shared_expert: bool = False
    mixture: Family | None = None
    """The family that a dense one becomes when it is upcycled."""


_FAMILIES: dict[str, _Traits] = {
    "llama": _Traits("LlamaForCausalLM", mixture="mixtral"),
    "mistral": _Traits("MistralForCausalLM", mixture="mixtral"),
    "qwen2": _Traits("Qwen2ForCausalLM", has_qkv_bias=True, mixture="qwen2_moe"),
    "qwen3": _Traits("Qwen3ForCausalLM", has_qk_norm=True, mixture="qwen3_moe"),
    "mixtral": _Traits("MixtralForCausalLM", is_moe=True),
    "qwen2_moe": _Traits("Qwen2MoeForCausalLM", is_moe=True, has_qkv_bias=True, has_shared_expert=True),
    "qwen3_moe": _Traits("Qwen3MoeForCausalLM", is_moe=True, has_qk_norm=True),
}


class Architecture(BaseModel):
    """Dimensions of a dense model or a mixture of experts, in Hugging Face's names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    family: Family
    vocab_size: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    """Width of a feed-forward layer; of one expert, where there are experts."""
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
    norm_topk_prob: bool = True
    """Whether the weights of the chosen experts are scaled so that they add up to 1."""
    shared_expert_size: NonNegativeInt = 0
    """Width of the expert that every token uses; 0 where there is none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.num_active_experts > self.num_experts:
            raise ValueError(
                f"num_active_experts is {self.num_active_experts}, more than the {self.num_experts} experts there are"
            )
        if self._traits.is_moe != (self.num_experts > 1):
            raise ValueError(f"family {self.family} does not go with {self.num_experts} experts")
        if self._traits.has_shared_expert != (self.shared_expert_size > 0):
            raise ValueError(f"family {self.family} does not go with a shared expert of {self.shared_expert_size} channels")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        if self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}; rotary positions turn pairs of channels, so it is even")
        return self

    @property
    def is_moe(self) -> bool:
        """Whether the feed-forward layers are experts behind a router."""
        return self.num_experts > 1

    @property
    def num_idle_parameters(self) -> int:
        """Parameters of the experts that one token does not use."""
        per_expert = 3 * self.hidden_size * self.intermediate_size
        return per_expert * self.num_hidden_layers * (self.num_experts - self.num_active_experts)

    @property
    def class_name(self) -> str:
        """The transformers class that runs it."""
        return self._traits.class_name

    @property
    def has_qkv_bias(self) -> bool:
        """Whether queries, keys and values have a bias."""
        return self._traits.has_qkv_bias

    @property
    def has_qk_norm(self) -> bool:
        """Whether queries and keys are normalised within each head."""
        return self._traits.has_qk_norm

    @property
    def _traits(self) -> _Traits:
        return _FAMILIES[self.family]


def mixture_of(dense: Architecture, *, experts: int, active: int, expert_size: int = 0) -> Architecture:
    """The mixture that a dense model becomes: the same dimensions, experts in place of the feed-forward layers.

    Args:
        dense: the parent; a shared expert, where the family has one, is as wide as its feed-forward layer.
        experts: how many.
        active: how many of them a token uses.
        expert_size: width of one expert; default: the parent's.
    """
    traits = _FAMILIES[dense.family]
    assert traits.mixture is not None, f"{dense.family} is a mixture"
    return Architecture.model_validate(
        dense.model_dump()
        | {
            "family": traits.mixture,
            "num_experts": experts,
            "num_active_experts": active,
            "intermediate_size": expert_size or dense.intermediate_size,
            "shared_expert_size": dense.intermediate_size if _FAMILIES[traits.mixture].has_shared_expert else 0,
        }
    )


def architecture_from_config(config: dict[str, Any], *, where: str = "config.json") -> Architecture:
    """Read the dimensions out of a Hugging Face `config.json`, as transformers 4 or 5 writes it.

    Raises:
        InputFileError: the model type is not one that moyai knows, or a dimension is missing.
    """
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise InputFileError(
            f"{where} has model_type {family!r}; moyai knows {', '.join(_FAMILIES)}",
            hint="convert the checkpoint to one of these families first",
        )
    rope = config.get("rope_parameters") or {}
    try:
        num_heads = config["num_attention_heads"]
        return Architecture(
            family=family,
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=num_heads,
            num_key_value_heads=config.get("num_key_value_heads") or num_heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // num_heads,
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-5)),
            rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10000.0))),
            max_position_embeddings=config.get("max_position_embeddings", 4096),
            **_feed_forward(config, family, where),
        )
    except KeyError as missing:
        raise InputFileError(f"{where} has no {missing.args[0]!r}", hint="is it a whole checkpoint?") from None
    except (ValueError, TypeError, ZeroDivisionError, AttributeError) as error:
        raise InputFileError(f"{where} does not describe a model: {' '.join(str(error).split())}") from None


def _feed_forward(config: dict[str, Any], family: str, where: str) -> dict[str, Any]:
    if family == "mixtral":
        return {
            "intermediate_size": config["intermediate_size"],
            "num_experts": config["num_local_experts"],
            "num_active_experts": config["num_experts_per_tok"],
        }
    if not _FAMILIES[family].is_moe:
        return {"intermediate_size": config["intermediate_size"]}
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        raise InputFileError(
            f"{where} has dense layers between its experts (mlp_only_layers {config.get('mlp_only_layers')!r},"
            f" decoder_sparse_step {config.get('decoder_sparse_step', 1)!r}), which is not yet known"
        )
    return {
        "intermediate_size": config["moe_intermediate_size"],
        # transformers 5 writes either name
        "num_experts": config["num_experts"] if "num_experts" in config else config["num_local_experts"],
        "num_active_experts": config["num_experts_per_tok"],
        "norm_topk_prob": bool(config.get("norm_topk_prob", False)),
        "shared_expert_size": config["shared_expert_intermediate_size"] if family == "qwen2_moe" else 0,
    }


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
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested or counted beyond all bounds
        raise InputFileError(f"{path} is not JSON: {error}") from None
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(config, dict):
        raise InputFileError(f"{path} is not a JSON object")
    return config
