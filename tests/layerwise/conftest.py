"""Tiny checkpoints of every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiny import FAMILIES, write_tiny_checkpoint

Changed = Callable[..., Path]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("layerwise")
    return {family: write_tiny_checkpoint(root / family, family, tied=False) for family in FAMILIES}


@pytest.fixture
def changed(checkpoints: dict[str, Path], tmp_path: Path) -> Changed:
    """`changed("mistral", sliding_window=4)` is a copy of that checkpoint with other values in its config."""

    def copy(family: str, **values: Any) -> Path:
        directory = tmp_path / f"changed-{family}"
        directory.mkdir()
        for path in checkpoints[family].iterdir():
            (directory / path.name).write_bytes(path.read_bytes())
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(config | values))
        return directory

    return copy
