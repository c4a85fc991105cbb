"""Names and shapes of the tensors that a Llama, Mistral or Mixtral model has, in their original layout.

Experts are stored one by one, as released: transformers 4 and 5, vLLM and llama.cpp's converter all read
that.

    model.layers.N.mlp.{gate,up,down}_proj.weight                  Llama, Mistral
    model.layers.N.block_sparse_moe.gate.weight                    Mixtral: the router
    model.layers.N.block_sparse_moe.experts.E.{w1,w3,w2}.weight    Mixtral: w1 is gate, w3 is up, w2 is down
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture

ExpertMatrix = Literal["w1", "w2", "w3"]

EMBEDDING_NAME = "model.embed_tokens.weight"
HEAD_NAME = "lm_head.weight"
FINAL_NORM_NAME = "model.norm.weight"

EXPERT_MATRICES: dict[ExpertMatrix, str] = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}

# Old Llama checkpoints store this table, which is computed from the config; transformers ignores it as well.
_IGNORED_SUFFIX = ".rotary_emb.inv_freq"
_MAX_LISTED = 4


def expert_name(layer: int, expert: int, matrix: ExpertMatrix) -> str:
    """Name of an expert's matrix."""
    return f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{matrix}.weight"


def router_name(layer: int) -> str:
    """Name of a layer's router."""
    return f"model.layers.{layer}.block_sparse_moe.gate.weight"


def dense_name(layer: int, matrix: ExpertMatrix) -> str:
    """Name of the dense feed-forward matrix that takes an expert's `matrix`'s place."""
    return f"model.layers.{layer}.mlp.{EXPERT_MATRICES[matrix]}.weight"


def expected_tensors(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of every stored tensor, in the order of the forward pass; a tied head is not stored."""
    a = architecture
    embedding = (a.vocab_size, a.hidden_size)
    tensors: dict[str, tuple[int, ...]] = {EMBEDDING_NAME: embedding}
    for layer in range(a.num_hidden_layers):
        tensors |= _attention(a, layer) | _feed_forward(a, layer)
    tensors[FINAL_NORM_NAME] = (a.hidden_size,)
    if not a.tie_word_embeddings:
        tensors[HEAD_NAME] = embedding
    return tensors


def check_complete(found: Mapping[str, tuple[int, ...]], architecture: Architecture, where: str) -> None:
    """Check that a checkpoint holds exactly the tensors of `architecture`.

    Args:
        found: shape of every tensor by name.
        architecture: what its config says.
        where: the checkpoint, for the message.

    Raises:
        InputFileError: tensors are missing, left over or of another shape; all three are told at once.
    """
    expected = expected_tensors(architecture)
    missing = [name for name in expected if name not in found]
    left_over = [name for name in found if name not in expected and not name.endswith(_IGNORED_SUFFIX)]
    wrong = [
        f"{name} is {list(found[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    problems = [
        f"{what} ({_listed(items)})"
        for what, items in (
            (f"{len(missing)} are missing", missing),
            (f"{len(left_over)} are left over", left_over),
            (f"{len(wrong)} have another shape", wrong),
        )
        if items
    ]
    if problems:
        raise InputFileError(
            f"the tensors of {where} do not fit its {architecture.family} config: {', '.join(problems)}",
            hint="is the checkpoint whole, and plain Llama, Mistral or Mixtral without biases or adapters?",
        )


def _attention(a: Architecture, layer: int) -> dict[str, tuple[int, ...]]:
    prefix = f"model.layers.{layer}"
    query, key_value = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
    return {
        f"{prefix}.input_layernorm.weight": (a.hidden_size,),
        f"{prefix}.self_attn.q_proj.weight": (query, a.hidden_size),
        f"{prefix}.self_attn.k_proj.weight": (key_value, a.hidden_size),
        f"{prefix}.self_attn.v_proj.weight": (key_value, a.hidden_size),
        f"{prefix}.self_attn.o_proj.weight": (a.hidden_size, query),
        f"{prefix}.post_attention_layernorm.weight": (a.hidden_size,),
    }


def _feed_forward(a: Architecture, layer: int) -> dict[str, tuple[int, ...]]:
    wide, narrow = (a.intermediate_size, a.hidden_size), (a.hidden_size, a.intermediate_size)
    shapes: dict[ExpertMatrix, tuple[int, ...]] = {"w1": wide, "w2": narrow, "w3": wide}
    if not a.is_moe:
        return {dense_name(layer, matrix): shape for matrix, shape in shapes.items()}
    experts = {
        expert_name(layer, expert, matrix): shape
        for expert in range(a.num_experts)
        for matrix, shape in shapes.items()
    }
    return {router_name(layer): (a.num_experts, a.hidden_size)} | experts


def _listed(names: list[str]) -> str:
    more = [f"and {len(names) - _MAX_LISTED} more"] if len(names) > _MAX_LISTED else []
    return ", ".join(names[:_MAX_LISTED] + more)
