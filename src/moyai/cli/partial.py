"""Directories that a verb works in: one that appears under its name only when it is whole, one that goes again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def partial_sibling(out_dir: Path) -> Iterator[Path]:
    """A fresh hidden sibling of `out_dir`, renamed to it at the end and removed if the work fails."""
    with scratch_sibling(out_dir) as partial:
        yield partial
        partial.replace(out_dir.absolute())


@contextmanager
def scratch_sibling(out: Path) -> Iterator[Path]:
    """A fresh hidden directory beside `out`, removed at the end."""
    final = out.absolute()
    scratch = final.with_name(f".{final.name}.partial")
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        if scratch.exists():
            shutil.rmtree(scratch)
