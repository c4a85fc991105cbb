from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from moyai.checkpoint.drawn import drawn_model
from moyai.checkpoint.layout import expected_tensors
from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.writer import write_checkpoint
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Architecture
from tiny import FAMILIES

SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "tie_word_embeddings": False,
}
MIXTURES = {
    "mixtral": {"num_experts": 4, "num_active_experts": 2},
    "qwen2_moe": {"num_experts": 4, "num_active_experts": 2, "shared_expert_size": 96},
    "qwen3_moe": {"num_experts": 4, "num_active_experts": 2},
}


def architecture(family: str = "llama") -> Architecture:
    return Architecture.model_validate({"family": family, **SIZES, **MIXTURES.get(family, {})})


def write(out_dir: Path, family: str = "llama", *, seed: int = 0, dtype: str = "F32") -> CheckpointReader:
    made = architecture(family)
    planned = drawn_model(made, dtype=dtype, seed=seed)
    write_model(
        out_dir, made, planned, like={}, tokenizer_dir=None, shard_bytes=10**9, progress=SilentProgress()
    )
    return CheckpointReader(out_dir)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_drawn_whole_and_runs(tmp_path: Path, family: str) -> None:
    reader = write(tmp_path, family)
    assert {name: info.shape for name, info in reader.tensors.items()} == expected_tensors(architecture(family))
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        loss = model(input_ids=torch.arange(100)[None], labels=torch.arange(100)[None]).loss
    assert float(loss) == pytest.approx(np.log(512), abs=0.1), "it knows nothing yet"


def test_values(tmp_path: Path) -> None:
    reader = write(tmp_path, "qwen2")
    for name in reader.tensors:
        values = reader.float32(name)
        if name.endswith("norm.weight"):
            assert (values == 1).all()
        elif name.endswith(".bias"):
            assert (values == 0).all()
        else:
            assert values.std() == pytest.approx(0.02, rel=0.05)
            assert abs(values.mean()) < 0.001
            assert abs(values).max() < 0.02 * 6


def test_a_tensor_depends_on_seed_and_name_alone(tmp_path: Path) -> None:
    first, again = write(tmp_path / "a"), write(tmp_path / "b")
    other, mixture = write(tmp_path / "c", seed=1), write(tmp_path / "d", "mixtral")
    matrices = [name for name in first.tensors if not name.endswith("norm.weight")]
    assert len({hashlib.sha256(first.float32(name).tobytes()).digest() for name in matrices}) == len(matrices)
    for name in matrices:
        assert np.array_equal(first.float32(name), again.float32(name))
        assert not np.array_equal(first.float32(name), other.float32(name))
        if name in mixture.tensors:
            assert np.array_equal(first.float32(name), mixture.float32(name))


def test_threads_change_nothing(tmp_path: Path) -> None:
    planned = drawn_model(architecture(), dtype="BF16", seed=0)
    digests = set()
    for num_threads in (1, 4):
        out_dir = tmp_path / str(num_threads)
        (path,) = write_checkpoint(
            out_dir, planned, shard_bytes=10**9, progress=SilentProgress(), num_threads=num_threads
        )
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_large_tensors_come_in_pieces() -> None:
    made = architecture().model_copy(update={"vocab_size": 50_000})
    embedding = drawn_model(made, dtype="F32", seed=0)[0]
    assert callable(embedding.content)
    pieces = list(embedding.content())
    assert len(pieces) > 1
    assert max(piece.nbytes for piece in pieces) <= 1 << 22
    stream = np.concatenate(pieces)
    small = drawn_model(architecture(), dtype="F32", seed=0)[0]
    assert callable(small.content)
    assert np.array_equal(np.concatenate(list(small.content())), stream[:512]), "a longer table begins with the same rows"


def test_origins_say_it(tmp_path: Path) -> None:
    origins = {tensor.name: tensor.origin for tensor in drawn_model(architecture("qwen2"), dtype="F32", seed=7)}
    assert origins["model.embed_tokens.weight"] == "normal(0, 0.02), seed 7"
    assert origins["model.norm.weight"] == "ones"
    assert origins["model.layers.0.self_attn.q_proj.bias"] == "zeros"
