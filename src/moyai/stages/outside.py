"""Hashes of what a stage reads from outside the run."""

from __future__ import annotations

from collections.abc import Iterable

from moyai.recipe.record import file_sha256
from moyai.recipe.sources import corpus_file


def file_hashes(names: Iterable[str]) -> dict[str, str]:
    """sha256 of each corpus file, by its source string."""
    return {name: file_sha256(corpus_file(name)) for name in names}
