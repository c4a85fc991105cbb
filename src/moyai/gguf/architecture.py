"""A model's dimensions as GGUF metadata, in both directions.

Source: `gguf-py/gguf/constants.py` (`Keys.LLM`, `Keys.Attention`, `Keys.Rope`), `conversion/llama.py` and
`src/llama-model.cpp` (`load_hparams`) of llama.cpp, where Llama, Mistral and Mixtral are all architecture
`llama`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from moyai.errors import InputFileError
from moyai.gguf.header import GgufHeader
from moyai.gguf.vocabulary import text_value
from moyai.recipe.architecture import Architecture

_HINT = "take the Hugging Face checkpoint of this model instead of its GGUF"


def architecture_of(header: GgufHeader) -> Architecture:
    """The dimensions of the model in a GGUF file: family `mixtral` where it has experts, else `llama`.

    Raises:
        InputFileError: it is of another architecture, a key is missing, or it stretches its rotary positions.
    """
    where = str(header.path)
    family = text_value(header.metadata, "general.architecture", where)
    if family != "llama":
        raise InputFileError(
            f"{where} has general.architecture {family!r}; only 'llama' can be read, others not yet"
        )
    _refuse_scaled_positions(header)
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None:
        raise InputFileError(
            f"{where} has no tensor 'token_embd.weight'", hint="is it a whole language model?"
        )
    hidden_size, num_heads = _count(header, "embedding_length"), _count(header, "attention.head_count")
    num_experts = _count(header, "expert_count", 0)
    try:
        return Architecture(
            family="mixtral" if num_experts else "llama",
            vocab_size=embedding.shape[0],
            hidden_size=hidden_size,
            intermediate_size=_count(header, "feed_forward_length"),
            num_hidden_layers=_count(header, "block_count"),
            num_attention_heads=num_heads,
            num_key_value_heads=_count(header, "attention.head_count_kv", num_heads),
            head_dim=_head_dim(header, hidden_size // max(num_heads, 1)),
            tie_word_embeddings="output.weight" not in header.tensors,
            rms_norm_eps=_real(header, "attention.layer_norm_rms_epsilon"),
            rope_theta=_real(header, "rope.freq_base", 10000.0),
            max_position_embeddings=_count(header, "context_length"),
            num_experts=max(num_experts, 1),
            num_active_experts=_count(header, "expert_used_count") if num_experts else 1,
        )
    except ValueError as error:
        raise InputFileError(f"{where} does not describe a model: {' '.join(str(error).split())}") from None


def architecture_metadata(architecture: Architecture) -> dict[str, Any]:
    """The metadata of a model's dimensions, by key."""
    metadata: dict[str, Any] = {
        "llama.block_count": architecture.num_hidden_layers,
        "llama.context_length": architecture.max_position_embeddings,
        "llama.embedding_length": architecture.hidden_size,
        "llama.feed_forward_length": architecture.intermediate_size,
        "llama.attention.head_count": architecture.num_attention_heads,
        "llama.attention.head_count_kv": architecture.num_key_value_heads,
        "llama.attention.key_length": architecture.head_dim,
        "llama.attention.value_length": architecture.head_dim,
        "llama.attention.layer_norm_rms_epsilon": float(architecture.rms_norm_eps),
        "llama.rope.freq_base": float(architecture.rope_theta),
        "llama.rope.dimension_count": architecture.head_dim,
        "llama.vocab_size": architecture.vocab_size,
    }
    if architecture.is_moe:
        metadata["llama.expert_count"] = architecture.num_experts
        metadata["llama.expert_used_count"] = architecture.num_active_experts
    return metadata


def _refuse_scaled_positions(header: GgufHeader) -> None:
    scaling = header.metadata.get("llama.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in header.tensors:
        raise InputFileError(
            f"{header.path} stretches its rotary positions (llama.rope.scaling.type {scaling!r}),"
            " which is not yet known",
            hint=_HINT,
        )


def _head_dim(header: GgufHeader, default: int) -> int:
    head_dim = _count(header, "attention.key_length", default)
    for key in ("attention.value_length", "rope.dimension_count"):
        if _count(header, key, head_dim) != head_dim:
            raise InputFileError(
                f"{header.path} has llama.{key} {_count(header, key)}, not its head size {head_dim},"
                " which is not yet known",
                hint=_HINT,
            )
    return head_dim


def _count(header: GgufHeader, key: str, default: int | None = None) -> int:
    value = header.metadata.get(f"llama.{key}", default)
    if isinstance(value, bool) or not isinstance(value, int):
        seen = "no" if value is None else f"{value!r} under"
        raise InputFileError(f"{header.path} has {seen} llama.{key}; one whole number is needed", hint=_HINT)
    return value


def _real(header: GgufHeader, key: str, default: float | None = None) -> float:
    value = header.metadata.get(f"llama.{key}", default)
    if not isinstance(value, float):
        seen = "no" if value is None else f"{value!r} under"
        raise InputFileError(f"{header.path} has {seen} llama.{key}; a number is needed", hint=_HINT)
    # The file holds float32: 1e-05 comes back as 9.999999747378752e-06, whose shortest spelling is 1e-05.
    return float(str(np.float32(value)))
