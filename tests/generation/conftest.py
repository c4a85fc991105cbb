from pathlib import Path

import pytest

from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Mixtral checkpoint."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("generation") / "mixtral", "mixtral", tied=False)


@pytest.fixture(scope="session")
def mixtral_gguf(mixtral: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generation") / "mixtral.gguf"
    checkpoint_to_gguf(mixtral, path, type="f32", progress=SilentProgress())
    return path
