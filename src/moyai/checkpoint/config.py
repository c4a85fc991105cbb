"""`config.json` as transformers 4 and 5, vLLM and llama.cpp read it alike, and the tokenizer's files."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from moyai.checkpoint.disk import replace_file
from moyai.checkpoint.dtypes import TORCH_NAMES
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture

CONFIG_NAME = "config.json"

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)

# Of a config that is followed: facts that an `Architecture` does not hold and that do not change with it.
_KEPT = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "initializer_range",
    "attention_dropout",
    "moyai_num_base_rows",  # how many rows of the embedding came with the base; the later ones are new
)
# Weight of the balance loss; transformers' default.
_ROUTER_AUX_LOSS_COEF = 0.001


def write_config(
    out_dir: Path, architecture: Architecture, *, dtype: str, like: dict[str, Any] | None
) -> None:
    """Write `config.json`, whole or not at all.

    Rope is written both as transformers 4 wants it (`rope_theta`, `rope_scaling`) and as 5 does
    (`rope_parameters`), the dtype as `torch_dtype` and as `dtype`.

    Args:
        out_dir: the checkpoint directory.
        architecture: the model's dimensions.
        dtype: storage dtype of the weights: F32, F16 or BF16.
        like: the parent's config, from which ids of special tokens, rope scaling and, for Mistral, the
            sliding window are taken.

    Raises:
        InputFileError: `like` has another activation than silu, or the dtype is none of the three.
    """
    if dtype not in TORCH_NAMES:
        raise InputFileError(f"weights are stored as {dtype}; a config knows {', '.join(TORCH_NAMES)}")
    parent = like or {}
    if parent.get("hidden_act", "silu") != "silu":
        raise InputFileError(f"hidden_act is {parent['hidden_act']!r}; moyai's models have 'silu'")
    config = _dimensions(architecture) | _rope(architecture, parent)
    config |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config |= {key: parent[key] for key in _KEPT if key in parent}
    config |= {"torch_dtype": TORCH_NAMES[dtype], "dtype": TORCH_NAMES[dtype]}
    config |= _family(architecture, parent)
    text = json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True)
    replace_file(out_dir / CONFIG_NAME, text.encode() + b"\n")


def copy_tokenizer_files(src: Path, dst: Path, *, without: Collection[str] = ()) -> list[str]:
    """Copy the tokenizer, its chat template and the generation settings; returns the names of those copied."""
    names = [name for name in TOKENIZER_FILES if name not in without and (src / name).is_file()]
    for name in names:
        replace_file(dst / name, (src / name).read_bytes())
    return names


def _dimensions(a: Architecture) -> dict[str, Any]:
    return {
        "architectures": [a.class_name],
        "model_type": a.family,
        "vocab_size": a.vocab_size,
        "hidden_size": a.hidden_size,
        "intermediate_size": a.intermediate_size,
        "num_hidden_layers": a.num_hidden_layers,
        "num_attention_heads": a.num_attention_heads,
        "num_key_value_heads": a.num_key_value_heads,
        "head_dim": a.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": a.rms_norm_eps,
        "max_position_embeddings": a.max_position_embeddings,
        "tie_word_embeddings": a.tie_word_embeddings,
        "use_cache": True,
    }


def _rope(a: Architecture, parent: dict[str, Any]) -> dict[str, Any]:
    scaling = dict(parent.get("rope_parameters") or parent.get("rope_scaling") or {})
    scaling.pop("rope_theta", None)
    kind = scaling.pop("type", None)
    kind = scaling.pop("rope_type", None) or kind or "default"
    rope = {
        "rope_theta": a.rope_theta,
        "rope_parameters": {"rope_type": kind, "rope_theta": a.rope_theta} | scaling,
    }
    if kind != "default":
        rope["rope_scaling"] = {"rope_type": kind} | scaling
    return rope


def _family(a: Architecture, parent: dict[str, Any]) -> dict[str, Any]:
    if a.family == "llama":
        return {"attention_bias": False, "mlp_bias": False}
    if a.family == "mistral":
        return {"sliding_window": parent.get("sliding_window")}
    balance = {
        "router_aux_loss_coef": parent.get("router_aux_loss_coef", _ROUTER_AUX_LOSS_COEF),
        "output_router_logits": False,
        "num_experts_per_tok": a.num_active_experts,
    }
    if a.family == "mixtral":
        return balance | {"sliding_window": None, "num_local_experts": a.num_experts, "router_jitter_noise": 0.0}
    window = {
        "sliding_window": parent.get("sliding_window"),
        "use_sliding_window": parent.get("use_sliding_window", False),
        "max_window_layers": parent.get("max_window_layers", a.num_hidden_layers),
    }
    if a.family in ("qwen3", "qwen3_moe"):
        window["attention_bias"] = False
    if not a.is_moe:
        return window
    experts = {
        "num_experts": a.num_experts,
        "moe_intermediate_size": a.intermediate_size,
        "norm_topk_prob": a.norm_topk_prob,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }
    if a.shared_expert_size:
        experts["shared_expert_intermediate_size"] = a.shared_expert_size
    return window | balance | experts
