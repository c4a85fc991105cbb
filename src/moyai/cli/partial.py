"""A directory that appears under its name only when it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def partial_sibling(out_dir: Path) -> Iterator[Path]:
    """A fresh hidden sibling of `out_dir`, renamed to it at the end and removed if the work fails."""
    final = out_dir.absolute()
    partial = final.with_name(f".{final.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(final)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
