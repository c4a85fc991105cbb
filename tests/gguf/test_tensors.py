from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

from moyai.checkpoint.layout import expected_tensors
from moyai.gguf import read
from moyai.gguf.architecture import ARCHITECTURE_NAMES
from moyai.gguf.header import read_header
from moyai.gguf.read import gguf_to_checkpoint
from moyai.gguf.tensors import tensor_pairs
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Family, read_architecture

FAMILIES: tuple[Family, ...] = get_args(Family)
PERMUTED = {"llama", "mistral", "mixtral"}


@pytest.mark.parametrize("family", FAMILIES)
def test_names_are_those_of_the_gguf_library(checkpoints: dict[str, Path], family: Family) -> None:
    architecture = read_architecture(checkpoints[family])
    kind = next(arch for arch in MODEL_ARCH if MODEL_ARCH_NAMES[arch] == ARCHITECTURE_NAMES[family])
    names = get_tensor_name_map(kind, architecture.num_hidden_layers)
    for pair in tensor_pairs(architecture):
        name = pair.checkpoint_names[0]
        if pair.is_stack:  # llama.cpp's converter calls a stack of experts by the name without a number
            assert all(f".experts.{i}." in each for i, each in enumerate(pair.checkpoint_names))
            name = name.replace("block_sparse_moe.experts.0.", "block_sparse_moe.experts.")
            name = name.replace("mlp.experts.0.", "mlp.experts.")
        if family == "mixtral" and pair.is_stack:
            name = name.replace("model.layers", "layers").replace("block_sparse_moe", "feed_forward")
        assert names.get_name(name, try_suffixes=(".weight", ".bias")) == pair.gguf_name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_of_the_checkpoint_has_its_place(checkpoints: dict[str, Path], family: Family) -> None:
    architecture = read_architecture(checkpoints[family])
    pairs = tensor_pairs(architecture)
    shapes = {name: pair.shape for pair in pairs for name in pair.checkpoint_names}
    assert shapes == expected_tensors(architecture)
    assert len({pair.gguf_name for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_permuted_in_architecture_llama_only(checkpoints: dict[str, Path], family: Family) -> None:
    pairs = tensor_pairs(read_architecture(checkpoints[family]))
    permuted = {pair.gguf_name.split(".", 2)[2] for pair in pairs if pair.head_dim}
    assert permuted == ({"attn_q.weight", "attn_k.weight"} if family in PERMUTED else set())


def test_the_row_of_a_shared_expert_may_be_a_matrix(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # llama.cpp's converter wrote a vector, and now writes a matrix of one row; the bytes are the same.
    checkpoint_to_gguf(checkpoints["qwen2_moe"], tmp_path / "a.gguf", type="f32", progress=SilentProgress())
    gguf_to_checkpoint(tmp_path / "a.gguf", tmp_path / "vector", progress=SilentProgress())
    header = read_header(tmp_path / "a.gguf")
    tensors = {
        name: replace(tensor, shape=(1, *tensor.shape)) if "ffn_gate_inp_shexp" in name else tensor
        for name, tensor in header.tensors.items()
    }
    monkeypatch.setattr(read, "read_header", lambda _: replace(header, tensors=tensors))
    gguf_to_checkpoint(tmp_path / "a.gguf", tmp_path / "matrix", progress=SilentProgress())
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("vector", "matrix")]
    assert weights[0] == weights[1]
