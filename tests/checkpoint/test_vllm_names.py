"""Would vLLM take every tensor?  Its loader's rules, restated and applied to our names and shapes; vLLM is not run.

Source: vllm 0.33.0 (source distribution), `hf_to_vllm_mapper` in `model_executor/models/{llama,qwen2,qwen3,mixtral,
qwen2_moe,qwen3_moe}.py` and `build_expert_params_mapping` in `model_executor/layers/fused_moe/routed_experts.py`.
"""

import re

import pytest

from moyai.checkpoint.layout import expected_tensors
from moyai.recipe.architecture import Architecture

DENSE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "tie_word_embeddings": False,
}
MIXTURE = DENSE | {"num_experts": 4, "num_active_experts": 2}
ARCHITECTURES = [
    Architecture(family="llama", **DENSE),
    Architecture(family="llama", **DENSE | {"tie_word_embeddings": True}),
    Architecture(family="mistral", **DENSE),
    Architecture(family="qwen2", **DENSE),
    Architecture(family="qwen3", **DENSE),
    Architecture(family="mixtral", **MIXTURE),
    Architecture(family="qwen2_moe", **MIXTURE, shared_expert_size=40),
    Architecture(family="qwen3_moe", **MIXTURE),
]

# part of a name in the checkpoint -> (part of the parameter's name, which piece of it)
ATTENTION = {".q_proj": (".qkv_proj", "q"), ".k_proj": (".qkv_proj", "k"), ".v_proj": (".qkv_proj", "v")}
STACKED = {
    "llama": ATTENTION | {".gate_proj": (".gate_up_proj", 0), ".up_proj": (".gate_up_proj", 1)},
    "mixtral": ATTENTION,
    "qwen_moe": ATTENTION
    | {
        ".mlp.gate_proj": (".mlp.gate_up_proj", 0),
        ".mlp.up_proj": (".mlp.gate_up_proj", 1),
        ".shared_expert.gate_proj": (".shared_expert.gate_up_proj", 0),
        ".shared_expert.up_proj": (".shared_expert.gate_up_proj", 1),
    },
}
RULES = {"mixtral": "mixtral", "qwen2_moe": "qwen_moe", "qwen3_moe": "qwen_moe"}
EXPERT_NAMES = {"mixtral": ("w1", "w2", "w3"), "qwen2_moe": ("gate_proj", "down_proj", "up_proj")}


def destination(family, name):
    """(parameter of vLLM's model, piece of it) that a checkpoint tensor is loaded into."""
    gate, down, up = EXPERT_NAMES.get(family, EXPERT_NAMES["qwen2_moe"])
    if expert := re.fullmatch(rf"(.*\.experts)\.(\d+)\.({gate}|{down}|{up})\.weight", name):
        parameter = "w2_weight" if expert[3] == down else "w13_weight"
        return f"{expert[1]}.{parameter}", (int(expert[2]), {gate: 0, up: 1, down: None}[expert[3]])
    for part, (whole, piece) in STACKED[RULES.get(family, "llama")].items():
        if part in name:
            return name.replace(part, whole), piece
    return name, None


def parameters(a):
    """Name -> {piece: shape} of every parameter of vLLM's model on one device."""
    query, key_value = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
    hidden, width = a.hidden_size, a.intermediate_size
    wide, narrow = (width, hidden), (hidden, width)
    found = {"model.embed_tokens.weight": {None: (a.vocab_size, hidden)}, "model.norm.weight": {None: (hidden,)}}
    if not a.tie_word_embeddings:
        found["lm_head.weight"] = {None: (a.vocab_size, hidden)}
    sizes = {"q": query, "k": key_value, "v": key_value}
    for n in range(a.num_hidden_layers):
        layer = f"model.layers.{n}"
        found[f"{layer}.self_attn.qkv_proj.weight"] = {part: (size, hidden) for part, size in sizes.items()}
        found[f"{layer}.self_attn.o_proj.weight"] = {None: (hidden, query)}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{layer}.{norm}.weight"] = {None: (hidden,)}
        if a.family in ("qwen2", "qwen2_moe"):
            found[f"{layer}.self_attn.qkv_proj.bias"] = {part: (size,) for part, size in sizes.items()}
        if a.family in ("qwen3", "qwen3_moe"):
            for norm in ("q_norm", "k_norm"):
                found[f"{layer}.self_attn.{norm}.weight"] = {None: (a.head_dim,)}
        if not a.is_moe:
            found[f"{layer}.mlp.gate_up_proj.weight"] = {0: wide, 1: wide}
            found[f"{layer}.mlp.down_proj.weight"] = {None: narrow}
            continue
        block = f"{layer}.block_sparse_moe" if a.family == "mixtral" else f"{layer}.mlp"
        experts = range(a.num_experts)
        found[f"{block}.gate.weight"] = {None: (a.num_experts, hidden)}
        found[f"{block}.experts.w13_weight"] = {(expert, half): wide for expert in experts for half in (0, 1)}
        found[f"{block}.experts.w2_weight"] = {(expert, None): narrow for expert in experts}
        if a.family == "qwen2_moe":
            shared = (a.shared_expert_size, hidden)
            found[f"{block}.shared_expert.gate_up_proj.weight"] = {0: shared, 1: shared}
            found[f"{block}.shared_expert.down_proj.weight"] = {None: shared[::-1]}
            found[f"{block}.shared_expert_gate.weight"] = {None: (1, hidden)}
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.family)
def test_every_tensor_fills_one_place_of_vllms_model_and_no_place_stays_empty(architecture):
    filled = {}
    for name, shape in expected_tensors(architecture).items():
        parameter, piece = destination(architecture.family, name)
        assert piece not in filled.setdefault(parameter, {}), f"{name} is the second one for {parameter} {piece}"
        filled[parameter][piece] = shape
    assert filled == parameters(architecture)


def test_the_layout_with_stacked_experts_finds_no_place():
    parameter, _ = destination("mixtral", "model.layers.0.mlp.experts.gate_up_proj")
    assert parameter not in parameters(Architecture(family="mixtral", **MIXTURE))
