"""Names and shapes of the tensors that a model has, in their original layout.

Experts are stored one by one, as released: transformers 4 and 5, vLLM and llama.cpp's converter all read
that.

    model.layers.N.mlp.{gate,up,down}_proj.weight                  Llama, Mistral, Qwen
    model.layers.N.block_sparse_moe.gate.weight                    Mixtral: the router
    model.layers.N.block_sparse_moe.experts.E.{w1,w3,w2}.weight    Mixtral: w1 is gate, w3 is up, w2 is down
    model.layers.N.mlp.gate.weight                                 Qwen mixtures: the router
    model.layers.N.mlp.experts.E.{gate,up,down}_proj.weight        Qwen mixtures
    model.layers.N.mlp.shared_expert.{gate,up,down}_proj.weight    Qwen2-MoE, with shared_expert_gate.weight
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, Family

Matrix = Literal["gate", "up", "down"]

EMBEDDING_NAME = "model.embed_tokens.weight"
HEAD_NAME = "lm_head.weight"
FINAL_NORM_NAME = "model.norm.weight"

MATRICES: tuple[Matrix, ...] = ("gate", "up", "down")

_MIXTRAL_MATRICES: dict[Matrix, str] = {"gate": "w1", "up": "w3", "down": "w2"}
# Old Llama checkpoints store this table, which is computed from the config; transformers ignores it as well.
_IGNORED_SUFFIX = ".rotary_emb.inv_freq"
_MAX_LISTED = 4


def expert_name(family: Family, layer: int, expert: int, matrix: Matrix) -> str:
    """Name of an expert's matrix."""
    if family == "mixtral":
        return f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{_MIXTRAL_MATRICES[matrix]}.weight"
    return f"model.layers.{layer}.mlp.experts.{expert}.{matrix}_proj.weight"


def router_name(family: Family, layer: int) -> str:
    """Name of a layer's router, [experts, hidden size]."""
    return f"model.layers.{layer}.{'block_sparse_moe' if family == 'mixtral' else 'mlp'}.gate.weight"


def dense_name(layer: int, matrix: Matrix) -> str:
    """Name of a dense feed-forward matrix."""
    return f"model.layers.{layer}.mlp.{matrix}_proj.weight"


def shared_expert_name(layer: int, matrix: Matrix) -> str:
    """Name of a matrix of the expert that every token uses (Qwen2-MoE)."""
    return f"model.layers.{layer}.mlp.shared_expert.{matrix}_proj.weight"


def shared_gate_name(layer: int) -> str:
    """Name of the row, [1, hidden size], whose sigmoid weighs the shared expert (Qwen2-MoE)."""
    return f"model.layers.{layer}.mlp.shared_expert_gate.weight"


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
    least = architecture.num_hidden_layers * architecture.num_experts
    if least > len(found):  # said before a list of as many names is made
        raise InputFileError(
            f"the tensors of {where} do not fit its {architecture.family} config: there are {len(found)}, for"
            f" {architecture.num_hidden_layers} layers of {architecture.num_experts} feed-forward parts each",
            hint="is the checkpoint whole, and the config that of this model?",
        )
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
            hint="is the checkpoint whole, and without adapters or biases that its family does not have?",
        )


def _attention(a: Architecture, layer: int) -> dict[str, tuple[int, ...]]:
    prefix = f"model.layers.{layer}"
    sizes = {
        "q": a.num_attention_heads * a.head_dim,
        "k": a.num_key_value_heads * a.head_dim,
        "v": a.num_key_value_heads * a.head_dim,
    }
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}.input_layernorm.weight": (a.hidden_size,)}
    for part, size in sizes.items():
        shapes[f"{prefix}.self_attn.{part}_proj.weight"] = (size, a.hidden_size)
        if a.has_qkv_bias:
            shapes[f"{prefix}.self_attn.{part}_proj.bias"] = (size,)
        if a.has_qk_norm and part != "v":
            shapes[f"{prefix}.self_attn.{part}_norm.weight"] = (a.head_dim,)
    shapes[f"{prefix}.self_attn.o_proj.weight"] = (a.hidden_size, sizes["q"])
    shapes[f"{prefix}.post_attention_layernorm.weight"] = (a.hidden_size,)
    return shapes


def _feed_forward(a: Architecture, layer: int) -> dict[str, tuple[int, ...]]:
    shapes = _matrix_shapes(a.hidden_size, a.intermediate_size)
    if not a.is_moe:
        return {dense_name(layer, matrix): shape for matrix, shape in shapes.items()}
    tensors: dict[str, tuple[int, ...]] = {router_name(a.family, layer): (a.num_experts, a.hidden_size)}
    for expert in range(a.num_experts):
        tensors |= {expert_name(a.family, layer, expert, matrix): shape for matrix, shape in shapes.items()}
    if a.shared_expert_size:
        shared = _matrix_shapes(a.hidden_size, a.shared_expert_size)
        tensors |= {shared_expert_name(layer, matrix): shape for matrix, shape in shared.items()}
        tensors[shared_gate_name(layer)] = (1, a.hidden_size)
    return tensors


def _matrix_shapes(hidden_size: int, width: int) -> dict[Matrix, tuple[int, int]]:
    return {"gate": (width, hidden_size), "up": (width, hidden_size), "down": (hidden_size, width)}


def _listed(names: list[str]) -> str:
    more = [f"and {len(names) - _MAX_LISTED} more"] if len(names) > _MAX_LISTED else []
    return ", ".join(names[:_MAX_LISTED] + more)
