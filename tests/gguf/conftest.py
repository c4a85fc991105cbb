from pathlib import Path

import pytest

from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "llama": write_tiny_checkpoint(root / "llama"),
        "untied": write_tiny_checkpoint(root / "untied", tied=False),
        "mistral": write_tiny_checkpoint(root / "mistral", "mistral", tied=False),
        "mixtral": write_tiny_checkpoint(root / "mixtral", "mixtral", tied=False),
    }


@pytest.fixture(scope="session")
def tiny_gguf(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    checkpoint_to_gguf(checkpoints["mixtral"], path, type="q8_0", progress=SilentProgress())
    return path
