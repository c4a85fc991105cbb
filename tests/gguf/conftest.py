from pathlib import Path

import pytest

from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from tiny import FAMILIES, write_tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    made = {family: write_tiny_checkpoint(root / family, family, tied=family == "llama") for family in FAMILIES}
    made["untied"] = write_tiny_checkpoint(root / "untied", tied=False)
    return made


@pytest.fixture(scope="session")
def tiny_gguf(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    checkpoint_to_gguf(checkpoints["mixtral"], path, type="q8_0", progress=SilentProgress())
    return path
