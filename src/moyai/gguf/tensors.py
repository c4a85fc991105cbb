"""Which tensor of a GGUF is which of a Hugging Face checkpoint.

Source: `gguf-py/gguf/tensor_mapping.py` of llama.cpp, and `modify_tensors` in its `conversion/llama.py` and
`conversion/qwen.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from moyai.checkpoint.layout import (
    EMBEDDING_NAME,
    FINAL_NORM_NAME,
    HEAD_NAME,
    Matrix,
    dense_name,
    expected_tensors,
    expert_name,
    router_name,
    shared_expert_name,
    shared_gate_name,
)
from moyai.recipe.architecture import Architecture

# Within a layer: name in a GGUF -> name in a checkpoint; a family has all of them but the biases and norms of heads.
_LAYER_NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_q.bias": "self_attn.q_proj.bias",
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_k.bias": "self_attn.k_proj.bias",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_v.bias": "self_attn.v_proj.bias",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
_PERMUTED = ("attn_q.weight", "attn_k.weight")
# llama.cpp rotates neighbours in architecture `llama` only; in the others it rotates as Hugging Face does.
_PERMUTED_FAMILIES = ("llama", "mistral", "mixtral")
_FEED_FORWARD_NAMES: dict[Matrix, str] = {"gate": "ffn_gate", "down": "ffn_down", "up": "ffn_up"}


@dataclass(frozen=True)
class TensorPair:
    """One tensor of a GGUF and the checkpoint tensors that it holds: one, or one for each expert."""

    gguf_name: str
    checkpoint_names: tuple[str, ...]
    shape: tuple[int, ...]
    """Of each checkpoint tensor."""
    is_stack: bool = False
    """Whether the GGUF tensor has the experts as an additional first dimension."""
    is_row: bool = False
    """Whether the checkpoint has a matrix of one row where the GGUF has a vector, or, of late, the same matrix."""
    head_dim: int = 0
    """Where rows are permuted within each head: the rows of one head; else 0."""

    @property
    def gguf_shape(self) -> tuple[int, ...]:
        """Row-major shape of the GGUF tensor."""
        if self.is_row:
            return self.shape[1:]
        return (len(self.checkpoint_names), *self.shape) if self.is_stack else self.shape


def tensor_pairs(architecture: Architecture) -> list[TensorPair]:
    """Every tensor of a model, in the order of the layers."""
    shapes = expected_tensors(architecture)
    pairs = [TensorPair("token_embd.weight", (EMBEDDING_NAME,), shapes[EMBEDDING_NAME])]
    permuted_names = _PERMUTED if architecture.family in _PERMUTED_FAMILIES else ()
    for layer in range(architecture.num_hidden_layers):
        for gguf, checkpoint in _LAYER_NAMES.items():
            name = f"model.layers.{layer}.{checkpoint}"
            if name in shapes:
                head_dim = architecture.head_dim if gguf in permuted_names else 0
                pairs.append(TensorPair(f"blk.{layer}.{gguf}", (name,), shapes[name], head_dim=head_dim))
        pairs += _feed_forward(architecture, layer, shapes)
    pairs.append(TensorPair("output_norm.weight", (FINAL_NORM_NAME,), shapes[FINAL_NORM_NAME]))
    if not architecture.tie_word_embeddings:
        pairs.append(TensorPair("output.weight", (HEAD_NAME,), shapes[HEAD_NAME]))
    assert sum(len(pair.checkpoint_names) for pair in pairs) == len(shapes)
    return pairs


def _feed_forward(
    architecture: Architecture, layer: int, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[TensorPair]:
    block, family = f"blk.{layer}", architecture.family
    if not architecture.is_moe:
        for matrix, gguf in _FEED_FORWARD_NAMES.items():
            name = dense_name(layer, matrix)
            yield TensorPair(f"{block}.{gguf}.weight", (name,), shapes[name])
        return
    router = router_name(family, layer)
    yield TensorPair(f"{block}.ffn_gate_inp.weight", (router,), shapes[router])
    for matrix, gguf in _FEED_FORWARD_NAMES.items():
        names = tuple(expert_name(family, layer, expert, matrix) for expert in range(architecture.num_experts))
        yield TensorPair(f"{block}.{gguf}_exps.weight", names, shapes[names[0]], is_stack=True)
    if architecture.shared_expert_size:
        gate = shared_gate_name(layer)
        yield TensorPair(f"{block}.ffn_gate_inp_shexp.weight", (gate,), shapes[gate], is_row=True)
        for matrix, gguf in _FEED_FORWARD_NAMES.items():
            name = shared_expert_name(layer, matrix)
            yield TensorPair(f"{block}.{gguf}_shexp.weight", (name,), shapes[name])
