from typing import Any, get_args

import pytest
from gguf.constants import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType

from moyai.gguf.tensor_types import ALIGNMENT, BLOCKS, GgufType, stored_tensors, tensor_data_bytes
from moyai.recipe.architecture import Architecture
from moyai.recipe.settings import ExportSettings

LETTERS = {"8": "Q8_0", "0": "Q5_0", "1": "Q5_1", "4": "Q4_K", "5": "Q5_K", "6": "Q6_K", "h": "F16"}


def architecture(family: str = "llama", **changes: Any) -> Architecture:
    sizes = {
        "vocab_size": 49152,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 10,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "tie_word_embeddings": False,
    }
    return Architecture.model_validate({"family": family} | sizes | changes)


def dense(*, attn_v: str, ffn_down: str, **others: str) -> dict[str, str]:
    plain = "4" * len(attn_v)
    names = ("attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up")
    return dict.fromkeys(names, plain) | {"attn_v": attn_v, "ffn_down": ffn_down} | others


def experts(**parts: str) -> dict[str, str]:
    return {f"{name}_exps" if name.startswith("ffn") else name: letters for name, letters in parts.items()}


MORE, EIGHT = "6446446466", {"num_experts": 8, "num_active_experts": 2}
MORE_OF_80 = "6" * 10 + "446" * 20 + "6" * 10
OF_70B = MORE_OF_80.replace("4", "5")
# What llama-quantize of llama.cpp (as vendored by llama-cpp-python 0.3.36) made of such models, a letter a layer.
CASES = {
    "llama": (architecture(), dense(attn_v=MORE, ffn_down=MORE, output="6", token_embd="4")),
    "tied, rows of 288": (
        architecture(hidden_size=288, head_dim=64, intermediate_size=1024, tie_word_embeddings=True),
        {
            "token_embd": "8",
            "attn_q": "0" * 10,
            "attn_k": "0" * 10,
            "attn_v": "8008008088",
            "attn_output": "4" * 10,
            "ffn_gate": "0" * 10,
            "ffn_up": "0" * 10,
            "ffn_down": MORE,
        },
    ),
    "rows of 40": (
        architecture(
            hidden_size=40, num_attention_heads=5, num_key_value_heads=1, head_dim=8, num_hidden_layers=2
        ),
        {
            **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"), "hh"),
            "ffn_down": "46",
            "output": "h",
            "token_embd": "h",
        },
    ),
    "llama of 80 layers": (
        architecture(num_hidden_layers=80),
        dense(attn_v=OF_70B, ffn_down=MORE_OF_80, output="6", token_embd="4"),
    ),
    "llama of 80 layers, as many keys as queries": (
        architecture(num_hidden_layers=80, num_key_value_heads=4),
        dense(attn_v=MORE_OF_80, ffn_down=MORE_OF_80, output="6", token_embd="4"),
    ),
    "qwen2 of 80 layers, as many keys as queries": (
        architecture("qwen2", num_hidden_layers=80, num_key_value_heads=4),
        dense(attn_v=OF_70B, ffn_down=MORE_OF_80, output="6", token_embd="4"),
    ),
    "qwen3 of 80 layers": (
        architecture("qwen3", num_hidden_layers=80),
        dense(attn_v=MORE_OF_80, ffn_down=MORE_OF_80, output="6", token_embd="4"),
    ),
    "mixtral of 4": (
        architecture("mixtral", num_experts=4, num_active_experts=2),
        experts(**dense(attn_v=MORE, ffn_down=MORE), output="6", token_embd="4"),
    ),
    "mixtral of 8": (
        architecture("mixtral", **EIGHT),
        experts(
            **dense(attn_v="8" * 10, attn_k="8" * 10, attn_output="5" * 10, ffn_down=MORE),
            output="6",
            token_embd="4",
        ),
    ),
    "mixtral of 8, tied, rows of 96": (
        architecture(
            "mixtral",
            **EIGHT,
            hidden_size=96,
            intermediate_size=256,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=32,
            tie_word_embeddings=True,
        ),
        experts(
            token_embd="8",
            attn_q="0" * 10,
            attn_k="8" * 10,
            attn_v="8" * 10,
            attn_output="1" * 10,
            ffn_gate="0" * 10,
            ffn_up="0" * 10,
            ffn_down=MORE,
        ),
    ),
    "qwen2_moe of 8": (
        architecture("qwen2_moe", **EIGHT, intermediate_size=96, shared_expert_size=320, norm_topk_prob=False),
        experts(
            **dense(attn_v="8" * 10, attn_k="8" * 10, attn_output="5" * 10, ffn_down="8008008088"),
            output="6",
            token_embd="4",
        )
        | {"ffn_gate_shexp": "4" * 10, "ffn_up_shexp": "4" * 10, "ffn_down_shexp": "8008008088"},
    ),
    "qwen3_moe of 6": (
        architecture("qwen3_moe", num_experts=6, num_active_experts=2, intermediate_size=256),
        experts(**dense(attn_v=MORE, ffn_down=MORE), output="6", token_embd="4"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_q4_k_m_is_mixed_as_llama_cpp_mixes_it(name: str) -> None:
    model, expected = CASES[name]
    found: dict[str, list[str]] = {}
    for tensor in stored_tensors(model, "q4_k_m"):
        words = tensor.pair.gguf_name.split(".")
        if tensor.type != "F32":
            found.setdefault(words[-2], []).append(tensor.type)
        else:
            assert words[-1] == "bias" or "norm" in words[-2] or "ffn_gate_inp" in words[-2]
    assert found == {part: [LETTERS[letter] for letter in letters] for part, letters in expected.items()}


def test_files_that_many_have() -> None:
    sizes = {"hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128, "num_hidden_layers": 32}
    sizes |= {"vocab_size": 32000}
    mistral = architecture("mistral", **sizes, num_key_value_heads=8, intermediate_size=14336)
    tensors = stored_tensors(mistral, "q4_k_m")
    types = [tensor.type for tensor in tensors]
    assert {kind: types.count(kind) for kind in set(types)} == {"F32": 65, "Q4_K": 193, "Q6_K": 33}
    # mistral-7b-instruct-v0.2.Q4_K_M.gguf has 4,368,439,584 bytes, its first tensor begins at 735,520.
    assert tensor_data_bytes(tensors) == 4_368_439_584 - 735_520
    # llama-2-7b.Q4_K_M.gguf: the header takes what is left over.
    llama2 = architecture(**sizes, num_key_value_heads=32, intermediate_size=11008)
    assert 700_000 < 4_081_004_224 - tensor_data_bytes(stored_tensors(llama2, "q4_k_m")) < 800_000


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_other_files_have_one_type_of_matrix(kind: GgufType) -> None:
    tensors = stored_tensors(architecture("mixtral", num_experts=4, num_active_experts=2), kind)
    matrices = [tensor for tensor in tensors if tensor.type == kind.upper()]
    assert len(matrices) == (2 + 7 * 10 if kind != "f32" else len(tensors))
    assert not any(tensor.is_fallback for tensor in tensors)


def test_fallbacks_are_marked() -> None:
    narrow = CASES["rows of 40"][0]
    for kind, num_fallback in [("q8_0", 2 * 6 + 2), ("q4_k_m", 2 * 6 + 2), ("f16", 0)]:
        assert sum(tensor.is_fallback for tensor in stored_tensors(narrow, kind)) == num_fallback
    assert sum(tensor.is_fallback for tensor in stored_tensors(CASES["mixtral of 8"][0], "q4_k_m")) == 0
    odd = CASES["mixtral of 8, tied, rows of 96"][0]
    plain = {tensor.pair.gguf_name for tensor in stored_tensors(odd, "q4_k_m") if not tensor.is_fallback}
    assert {"blk.0.ffn_down_exps.weight", "blk.0.attn_k.weight", "blk.0.attn_norm.weight"} <= plain
    assert not {"token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_output.weight"} & plain


def test_the_tables_agree_with_gguf_and_the_settings() -> None:
    for kind, sizes in BLOCKS.items():
        assert sizes == GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    assert ALIGNMENT == GGUF_DEFAULT_ALIGNMENT
    assert get_args(GgufType) == get_args(ExportSettings.model_fields["type"].annotation)
