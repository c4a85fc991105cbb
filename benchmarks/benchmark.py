"""What a benchmark is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.workplace import Workplace


@dataclass(frozen=True)
class Benchmark:
    """One measurement and its section in the document."""

    name: str
    settings: Mapping[str, Any]
    """All that decides what is measured; a stored result with other settings is measured again."""
    measure: Callable[[Workplace], dict[str, Any]]
    """Does the work; what it returns is stored as JSON."""
    section: Callable[[Mapping[str, Any]], str]
    """Markdown from what `measure` returned, with a heading of the second level."""
