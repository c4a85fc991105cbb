"""What a mixture says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moyai.checkpoint.layout import expected_tensors
from moyai.errors import InputFileError
from moyai.evaluation.claim import claimed_method
from moyai.recipe.architecture import Architecture
from moyai.recipe.record import Identity, Record

SIZES: dict[str, Any] = {
    "vocab_size": 8,
    "hidden_size": 4,
    "intermediate_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "tie_word_embeddings": True,
}
MIXTURE = Architecture(family="mixtral", **SIZES, num_experts=2, num_active_experts=1)


def write_record(directory: Path, kind: str, **settings: Any) -> None:
    identity = Identity(kind=kind, revision=1, settings=settings, parents=(), outside={})
    record = Record(
        moyai="0",
        name=kind,
        identity=identity,
        fingerprint=identity.fingerprint(),
        results={},
        versions={},
        machine={},
        started="",
        seconds=1,
        peak_bytes=1,
        resumed=0,
    )
    (directory / "record.json").write_text(record.model_dump_json())


def write_origins(directory: Path, origin: str) -> None:
    (directory / "tensor_origins.json").write_text(json.dumps(dict.fromkeys(expected_tensors(MIXTURE), origin)))


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("upcycle", {"method": "copy"}, ("copy", True)),
        ("upcycle", {"method": "drop"}, ("drop", False)),
        ("upcycle", {"method": "noise"}, ("noise", False)),
        ("upcycle", {"method": "virtual-group", "scaling": "down"}, ("virtual-group", True)),
        ("upcycle", {"method": "virtual-group", "scaling": "published"}, ("virtual-group", False)),
        ("sft", {"seed": 0}, (None, False)),
    ],
)
def test_the_record_tells(kind: str, settings: dict[str, Any], expected: tuple[str, bool], tmp_path: Path) -> None:
    write_record(tmp_path, kind, **settings)
    write_origins(tmp_path, "copy of model.layers.0.mlp.up_proj.weight")
    assert claimed_method(tmp_path, MIXTURE) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("copy of model.layers.0.mlp.up_proj.weight", ("copy", True)),
        ("copy of model.layers.0.mlp.down_proj.weight, times 0.5", ("copy", True)),
        ("copy of model.layers.0.mlp.down_proj.weight[:, 0:2], times 2", ("virtual-group", True)),
        ("copy of model.layers.0.mlp.gate_proj.weight[0:2], times 1.259", (None, False)),
        ("copy of model.layers.0.mlp.up_proj.weight, normal(0, 0.02) added to 2 of 4 channels, seed 0", (None, False)),
        ("drop of model.layers.0.mlp.up_proj.weight: permuted", (None, False)),
        ("copy of model.layers.0.mlp.up_proj.weight of another/model", (None, False)),
    ],
)
def test_without_a_record_the_origins_tell(origin: str, expected: tuple[str | None, bool], tmp_path: Path) -> None:
    write_origins(tmp_path, origin)
    assert claimed_method(tmp_path, MIXTURE) == expected


def test_nothing_is_claimed(tmp_path: Path) -> None:
    assert claimed_method(tmp_path, MIXTURE) == (None, False)
    write_record(tmp_path, "upcycle", method="copy")
    assert claimed_method(tmp_path, Architecture(family="llama", **SIZES)) == (None, False)


@pytest.mark.parametrize("name", ["record.json", "tensor_origins.json"])
def test_a_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{")
    with pytest.raises(InputFileError, match=name):
        claimed_method(tmp_path, MIXTURE)
