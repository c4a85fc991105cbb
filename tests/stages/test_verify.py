"""The stage `verify`: what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moyai.errors import InputFileError
from moyai.progress import SilentProgress
from moyai.recipe.settings import VerifySettings
from moyai.stages.contract import StageContext
from moyai.stages.verify import outside, run
from tiny import ENGLISH, write_tiny_checkpoint


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    inputs = {name: write_tiny_checkpoint(tmp_path / name, seed=seed) for seed, name in enumerate(("model", "parent"))}
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    return StageContext(out_dir, inputs, tmp_path, SilentProgress())


def settings(tmp_path: Path, text: str) -> VerifySettings:
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    return VerifySettings(against="parent", text=str(path), tokens=200)


def test_certificate_and_results(context: StageContext, tmp_path: Path) -> None:
    asked = settings(tmp_path, ENGLISH * 20)
    results = run(asked, context)
    certificate = json.loads((context.out_dir / "certificate.json").read_bytes())
    assert [layer["layer"] for layer in certificate.pop("layers")] == [0, 1]
    assert certificate == results
    assert (results["model"], results["against"], results["num_tokens"]) == ("model", "parent", 200)
    assert (results["verdict"], results["same_function"]) == ("NOT THE SAME FUNCTION", False)
    assert list(outside(asked, tmp_path)) == [asked.text]


def test_every_document_begins_with_its_mark(context: StageContext, tmp_path: Path) -> None:
    """One character is two tokens, mark included, and there is something to predict."""
    assert run(settings(tmp_path, "a"), context)["num_tokens"] == 2


def test_a_text_without_words(context: StageContext, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"text\.txt has no text"):
        run(settings(tmp_path, ""), context)
