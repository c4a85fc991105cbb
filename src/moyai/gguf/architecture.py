"""A model's dimensions as GGUF metadata, in both directions.

Source: `gguf-py/gguf/constants.py` (`Keys.LLM`, `Keys.Attention`, `Keys.Rope`), `conversion/llama.py`,
`conversion/qwen.py`, `src/llama-model.cpp` (`load_hparams`) and `src/models/{llama,qwen2,qwen3,qwen2moe,
qwen3moe}.cpp` of llama.cpp, where Llama, Mistral and Mixtral are all architecture `llama`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from moyai.errors import InputFileError
from moyai.gguf.header import GgufHeader
from moyai.gguf.vocabulary import text_value
from moyai.recipe.architecture import Architecture, Family

ARCHITECTURE_NAMES: Mapping[Family, str] = MappingProxyType(
    {
        "llama": "llama",
        "mistral": "llama",
        "mixtral": "llama",
        "qwen2": "qwen2",
        "qwen3": "qwen3",
        "qwen2_moe": "qwen2moe",
        "qwen3_moe": "qwen3moe",
    }
)
"""Family -> `general.architecture`."""

_HINT = "take the Hugging Face checkpoint of this model instead of its GGUF"
# A factor here counts even where the file names no type of scaling.
_POSITION_FACTORS = ("rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor")
# Whether llama.cpp scales the weights of the chosen experts to a sum of 1; no key can change it.
_NORMALISES: dict[Family, bool] = {"mixtral": True, "qwen2_moe": False, "qwen3_moe": True}
# Families whose heads together are as wide as the model in llama.cpp.
_HEADS_FILL_THE_MODEL = ("qwen2", "qwen2_moe")


def architecture_of(header: GgufHeader) -> Architecture:
    """The dimensions of the model in a GGUF file; of `llama`, the family is `mixtral` where it has experts.

    Raises:
        InputFileError: it is of another architecture, a key is missing, or it stretches its rotary positions.
    """
    where = str(header.path)
    keys = _Keys(header)
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None:
        raise InputFileError(
            f"{where} has no tensor 'token_embd.weight'", hint="is it a whole language model?"
        )
    hidden_size, num_heads = keys.count("embedding_length"), keys.count("attention.head_count")
    try:
        return Architecture(
            vocab_size=embedding.shape[0],
            hidden_size=hidden_size,
            num_hidden_layers=keys.count("block_count"),
            num_attention_heads=num_heads,
            num_key_value_heads=keys.count("attention.head_count_kv", num_heads),
            head_dim=keys.head_dim(hidden_size // max(num_heads, 1)),
            tie_word_embeddings="output.weight" not in header.tensors,
            rms_norm_eps=keys.real("attention.layer_norm_rms_epsilon"),
            rope_theta=keys.real("rope.freq_base", 10000.0),
            max_position_embeddings=keys.count("context_length"),
            **_feed_forward(keys),
        )
    except ValueError as error:
        raise InputFileError(f"{where} does not describe a model: {' '.join(str(error).split())}") from None


def _feed_forward(keys: _Keys) -> dict[str, Any]:
    num_experts = keys.count("expert_count", 0)
    family: Family = "mixtral" if num_experts else "llama"
    if keys.name != "llama":
        family = next(family for family, name in ARCHITECTURE_NAMES.items() if name == keys.name)
    if family not in _NORMALISES:
        return {"family": family, "intermediate_size": keys.count("feed_forward_length")}
    num_active = keys.count("expert_used_count")
    experts = {
        "family": family,
        "num_experts": num_experts,
        "num_active_experts": num_active,
        "norm_topk_prob": _NORMALISES[family],
    }
    if family == "mixtral":
        return experts | {"intermediate_size": keys.count("feed_forward_length")}
    experts["intermediate_size"] = keys.count("expert_feed_forward_length")
    if family == "qwen2_moe":
        experts["shared_expert_size"] = keys.count("expert_shared_feed_forward_length")
    return experts


def architecture_metadata(architecture: Architecture, *, where: str = "config.json") -> dict[str, Any]:
    """The metadata of a model's dimensions, by key, without `general.architecture`.

    Args:
        architecture: the model's dimensions.
        where: what says so, for the message.

    Raises:
        InputFileError: llama.cpp would compute something else than this model, or not load it.
    """
    _refuse_unsayable(architecture, where)
    a = architecture
    metadata: dict[str, Any] = {
        "block_count": a.num_hidden_layers,
        "context_length": a.max_position_embeddings,
        "embedding_length": a.hidden_size,
        "attention.head_count": a.num_attention_heads,
        "attention.head_count_kv": a.num_key_value_heads,
        "attention.key_length": a.head_dim,
        "attention.value_length": a.head_dim,
        "attention.layer_norm_rms_epsilon": float(a.rms_norm_eps),
        "rope.freq_base": float(a.rope_theta),
        "rope.dimension_count": a.head_dim,
        "vocab_size": a.vocab_size,
    }
    if a.is_moe:
        metadata |= {"expert_count": a.num_experts, "expert_used_count": a.num_active_experts}
    if a.is_moe and a.family != "mixtral":
        metadata["expert_feed_forward_length"] = a.intermediate_size
    else:
        metadata["feed_forward_length"] = a.intermediate_size
    if a.shared_expert_size:
        metadata["expert_shared_feed_forward_length"] = a.shared_expert_size
    return {f"{ARCHITECTURE_NAMES[a.family]}.{key}": value for key, value in metadata.items()}


def _refuse_unsayable(a: Architecture, where: str) -> None:
    # with all experts active the weights add up to 1 by themselves
    if a.is_moe and a.norm_topk_prob != _NORMALISES[a.family] and a.num_active_experts < a.num_experts:
        does = "always scales" if _NORMALISES[a.family] else "never scales"
        raise InputFileError(
            f"{where} has norm_topk_prob {a.norm_topk_prob}, but llama.cpp {does} the weights of a {a.family}'s"
            " chosen experts to a sum of 1",
            hint="a GGUF of this model would be another function",
        )
    width = a.num_attention_heads * a.head_dim
    if a.family in _HEADS_FILL_THE_MODEL and width != a.hidden_size:
        raise InputFileError(
            f"{where} has {a.num_attention_heads} heads of {a.head_dim} channels; llama.cpp only loads a"
            f" {a.family} whose heads are together as wide as its hidden_size {a.hidden_size}"
        )
    if a.family == "qwen2_moe" and a.tie_word_embeddings:
        raise InputFileError(
            f"{where} has tie_word_embeddings True; llama.cpp only loads a qwen2_moe with an output head of its own"
        )


class _Keys:
    """Values under `{general.architecture}.*` of a file whose rotary positions are plain."""

    def __init__(self, header: GgufHeader) -> None:
        self.header = header
        self.name = text_value(header.metadata, "general.architecture", header.path)
        known = tuple(dict.fromkeys(ARCHITECTURE_NAMES.values()))
        if self.name not in known:
            raise InputFileError(
                f"{header.path} has general.architecture {self.name!r}; {', '.join(known)} can be read", hint=_HINT
            )
        scaling = header.metadata.get(f"{self.name}.rope.scaling.type", "none")
        factors = {self.real(key, 1.0) for key in _POSITION_FACTORS}
        if scaling != "none" or not factors <= {0.0, 1.0} or "rope_freqs.weight" in header.tensors:
            raise InputFileError(
                f"{header.path} stretches its rotary positions ({self.name}.rope.scaling.type {scaling!r}),"
                " which is not yet known",
                hint=_HINT,
            )

    def count(self, key: str, default: int | None = None) -> int:
        value = self.header.metadata.get(f"{self.name}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._fault(key, value, "one whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.header.metadata.get(f"{self.name}.{key}", default)
        if not isinstance(value, float):
            raise self._fault(key, value, "a number")
        # The file holds float32: 1e-05 comes back as 9.999999747378752e-06, whose shortest spelling is 1e-05.
        return float(str(np.float32(value)))

    def head_dim(self, default: int) -> int:
        head_dim = self.count("attention.key_length", default)
        for key in ("attention.value_length", "rope.dimension_count"):
            if self.count(key, head_dim) != head_dim:
                raise InputFileError(
                    f"{self.header.path} has {self.name}.{key} {self.count(key)}, not its head size {head_dim},"
                    " which is not yet known",
                    hint=_HINT,
                )
        return head_dim

    def _fault(self, key: str, value: Any, needed: str) -> InputFileError:
        seen = "no" if value is None else f"{value!r} under"
        return InputFileError(f"{self.header.path} has {seen} {self.name}.{key}; {needed} is needed", hint=_HINT)
