"""Which tensor of a GGUF is which of a Hugging Face checkpoint, and how their rows are ordered.

Source: `gguf-py/gguf/tensor_mapping.py` of llama.cpp and `LlamaModel.modify_tensors` in its
`conversion/llama.py`.

Shape letters: R rows, C columns; D is the size of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.layout import (
    EMBEDDING_NAME,
    FINAL_NORM_NAME,
    HEAD_NAME,
    ExpertMatrix,
    dense_name,
    expected_tensors,
    expert_name,
    router_name,
)
from moyai.recipe.architecture import Architecture

# Within a layer: name in a GGUF -> name in a checkpoint.
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
}
_PERMUTED = ("attn_q", "attn_k")
_FEED_FORWARD_NAMES: dict[ExpertMatrix, str] = {"w1": "ffn_gate", "w2": "ffn_down", "w3": "ffn_up"}


@dataclass(frozen=True)
class TensorPair:
    """One tensor of a GGUF and the checkpoint tensors that it holds: one, or one for each expert."""

    gguf_name: str
    checkpoint_names: tuple[str, ...]
    shape: tuple[int, ...]
    """Of each checkpoint tensor."""
    is_stack: bool = False
    """Whether the GGUF tensor has the experts as an additional first dimension."""
    head_dim: int = 0
    """Where rows are permuted within each head: the rows of one head; else 0."""

    @property
    def gguf_shape(self) -> tuple[int, ...]:
        """Row-major shape of the GGUF tensor."""
        return (len(self.checkpoint_names), *self.shape) if self.is_stack else self.shape


def tensor_pairs(architecture: Architecture) -> list[TensorPair]:
    """Every tensor of a model, in the order of the layers."""
    shapes = expected_tensors(architecture)
    pairs = [TensorPair("token_embd.weight", (EMBEDDING_NAME,), shapes[EMBEDDING_NAME])]
    for layer in range(architecture.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        for gguf, checkpoint in _LAYER_NAMES.items():
            name = f"{prefix}.{checkpoint}.weight"
            head_dim = architecture.head_dim if gguf in _PERMUTED else 0
            pairs.append(TensorPair(f"blk.{layer}.{gguf}.weight", (name,), shapes[name], head_dim=head_dim))
        pairs += _feed_forward(architecture, layer, shapes)
    pairs.append(TensorPair("output_norm.weight", (FINAL_NORM_NAME,), shapes[FINAL_NORM_NAME]))
    if not architecture.tie_word_embeddings:
        pairs.append(TensorPair("output.weight", (HEAD_NAME,), shapes[HEAD_NAME]))
    return pairs


def _feed_forward(
    architecture: Architecture, layer: int, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[TensorPair]:
    block = f"blk.{layer}"
    if architecture.is_moe:
        router = router_name(layer)
        yield TensorPair(f"{block}.ffn_gate_inp.weight", (router,), shapes[router])
    for matrix, gguf in _FEED_FORWARD_NAMES.items():
        if architecture.is_moe:
            names = tuple(expert_name(layer, expert, matrix) for expert in range(architecture.num_experts))
            yield TensorPair(f"{block}.{gguf}_exps.weight", names, shapes[names[0]], is_stack=True)
        else:
            name = dense_name(layer, matrix)
            yield TensorPair(f"{block}.{gguf}.weight", (name,), shapes[name])


def permuted(rows_RC: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Rows in the order of llama.cpp: within each head, the two halves of the rotary pairs side by side.

    Hugging Face keeps the pair (i, i + D/2) of a head apart; llama.cpp rotates neighbours in architecture
    `llama`.

    Args:
        rows_RC: rows of whole heads.
        head_dim: D, the rows of one head.

    >>> permuted(np.arange(8, dtype=np.float32)[:, None], 4).ravel().tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    num_columns = rows_RC.shape[1]
    return rows_RC.reshape(-1, 2, head_dim // 2, num_columns).swapaxes(1, 2).reshape(-1, num_columns)


def unpermuted(rows_RC: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """The inverse of `permuted`.

    >>> unpermuted(permuted(np.arange(8, dtype=np.float32)[:, None], 4), 4).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    num_columns = rows_RC.shape[1]
    return rows_RC.reshape(-1, head_dim // 2, 2, num_columns).swapaxes(1, 2).reshape(-1, num_columns)
