"""Two models are certified as one function only if they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from moyai.checkpoint.config import copy_tokenizer_files, write_config
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.upcycle import plan_upcycle
from moyai.checkpoint.writer import write_checkpoint
from moyai.evaluation.certificate import Certificate, compare_functions
from moyai.progress import SilentProgress
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import UpcycleSettings
from moyai.tokenizer.text import TextTokenizer
from tiny import ENGLISH


def upcycled(dense_dir: Path, out_dir: Path, **changes: object) -> Path:
    settings = UpcycleSettings.model_validate({"experts": 4, "active": 2, **changes})
    mixture, planned = plan_upcycle(CheckpointReader(dense_dir), read_architecture(dense_dir), settings)
    write_checkpoint(out_dir, planned, shard_bytes=10**9, progress=SilentProgress())
    write_config(out_dir, mixture, dtype="F32", like=read_config(dense_dir))
    copy_tokenizer_files(dense_dir, out_dir)
    return out_dir


def compare(first: Path, second: Path, num_tokens: int = 300) -> Certificate:
    ids = (TextTokenizer(first).encode(ENGLISH + "舟を岸に寄せる。") * 20)[:num_tokens]
    assert len(ids) == num_tokens
    with SilentProgress().bar("x", total=1, unit="tokens") as bar:
        return compare_functions(first, second, ids, bar)


@pytest.fixture(scope="module")
def copy_dir(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return upcycled(checkpoints["llama"], tmp_path_factory.mktemp("certificate") / "copy")


def test_a_copy_upcycled_model_is_the_same_function(checkpoints: dict[str, Path], copy_dir: Path) -> None:
    certificate = compare(checkpoints["llama"], copy_dir)
    assert certificate.max_abs_logit_difference < 1e-4
    assert certificate.max_abs_logit > 1, "the logits that agree are not all zero"
    assert (certificate.num_tokens, certificate.dtype) == (300, "float32")


def test_a_drop_upcycled_model_is_not(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    dropped = upcycled(checkpoints["llama"], tmp_path / "drop", method="drop", reinit=0.5)
    assert compare(checkpoints["llama"], dropped).max_abs_logit_difference > 1e-2


@pytest.mark.parametrize("name", ["model.layers.1.block_sparse_moe.experts.3.w2.weight", "model.norm.weight"])
def test_one_changed_weight_shows(checkpoints: dict[str, Path], copy_dir: Path, tmp_path: Path, name: str) -> None:
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for path in copy_dir.iterdir():
        (spoilt / path.name).write_bytes(path.read_bytes())
    weights = load_file(spoilt / "model.safetensors")
    weights[name].view(-1)[5] += 1.0
    save_file(weights, spoilt / "model.safetensors", metadata={"format": "pt"})
    assert compare(checkpoints["llama"], spoilt).max_abs_logit_difference > 1e-3


def test_the_difference_is_the_largest_of_all_windows(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """A token that stands only behind the first window of 256 is looked at too."""
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for path in checkpoints["llama"].iterdir():
        (spoilt / path.name).write_bytes(path.read_bytes())
    weights = load_file(spoilt / "model.safetensors")
    rare = 300
    weights["model.embed_tokens.weight"][rare] = torch.zeros(32)
    save_file(weights, spoilt / "model.safetensors", metadata={"format": "pt"})
    ids = [5, 6, 7] * 100
    with SilentProgress().bar("x", total=1, unit="tokens") as bar:
        same = compare_functions(checkpoints["llama"], checkpoints["llama"], [*ids, rare, 5], bar)
        other = compare_functions(checkpoints["llama"], spoilt, [*ids, rare, 5], bar)
    assert same.max_abs_logit_difference == 0
    assert other.max_abs_logit_difference > 1e-3
