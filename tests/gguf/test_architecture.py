import json
from pathlib import Path
from typing import Any, get_args

import pytest

from moyai.errors import InputFileError
from moyai.gguf.architecture import ARCHITECTURE_NAMES, architecture_metadata, architecture_of
from moyai.gguf.header import read_header
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Architecture, Family, read_architecture

FAMILIES: tuple[Family, ...] = get_args(Family)


@pytest.mark.parametrize("family", FAMILIES)
def test_dimensions_come_back(checkpoints: dict[str, Path], tmp_path: Path, family: Family) -> None:
    checkpoint_to_gguf(checkpoints[family], tmp_path / "a.gguf", type="f32", progress=SilentProgress())
    header = read_header(tmp_path / "a.gguf")
    assert header.metadata["general.architecture"] == ARCHITECTURE_NAMES[family]
    before, after = read_architecture(checkpoints[family]), architecture_of(header)
    assert after == (before.model_copy(update={"family": "llama"}) if family == "mistral" else before)


def architecture(checkpoints: dict[str, Path], family: Family, **changes: Any) -> Architecture:
    return Architecture.model_validate(read_architecture(checkpoints[family]).model_dump() | changes)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("qwen2_moe", {"norm_topk_prob": True}, "norm_topk_prob True, but llama.cpp never scales"),
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob False, but llama.cpp always scales"),
        ("qwen2", {"head_dim": 16}, "4 heads of 16 channels"),
        ("qwen2_moe", {"head_dim": 16}, "4 heads of 16 channels"),
        ("qwen2_moe", {"tie_word_embeddings": True}, "tie_word_embeddings True; .* an output head of its own"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    checkpoints: dict[str, Path], family: Family, changes: dict[str, Any], message: str
) -> None:
    architecture_metadata(architecture(checkpoints, family))
    with pytest.raises(InputFileError, match=f"^model/config.json has {message}"):
        architecture_metadata(architecture(checkpoints, family, **changes), where="model/config.json")


def test_heads_wider_than_the_model(checkpoints: dict[str, Path]) -> None:
    for family in ("llama", "qwen3", "qwen3_moe"):
        metadata = architecture_metadata(architecture(checkpoints, family, head_dim=16))
        assert metadata[f"{ARCHITECTURE_NAMES[family]}.attention.key_length"] == 16


def test_widths_of_qwens_experts(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    checkpoint_to_gguf(checkpoints["qwen2_moe"], tmp_path / "a.gguf", type="f32", progress=SilentProgress())
    header = read_header(tmp_path / "a.gguf")
    assert header.metadata["qwen2moe.expert_feed_forward_length"] == 64
    assert header.metadata["qwen2moe.expert_shared_feed_forward_length"] == 96
    assert "qwen2moe.feed_forward_length" not in header.metadata
    assert header.tensors["blk.0.ffn_gate_exps.weight"].shape == (4, 64, 32)
    assert header.tensors["blk.0.ffn_down_shexp.weight"].shape == (32, 96)
    assert header.tensors["blk.0.ffn_gate_inp_shexp.weight"].shape == (32,)
    config = json.loads((checkpoints["qwen2_moe"] / "config.json").read_text())
    assert config["intermediate_size"] == 128  # of dense layers, of which the model has none
