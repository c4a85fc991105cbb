"""What a stage is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moyai.progress import Progress
from moyai.recipe.stage_settings import StageSettings

RESUME_NAME = "resume"


@dataclass(frozen=True)
class StageContext:
    """Where a stage reads and writes.

    `out_dir` is the `.partial` directory that becomes the artifact.  It survives a killed run, so a stage finds
    there what it left.
    """

    out_dir: Path
    inputs: Mapping[str, Path]
    """Finished artifacts by stage name, in the order of the step's inputs."""
    cache_dir: Path
    progress: Progress

    @property
    def resume_dir(self) -> Path:
        """For what only a resumed run needs; removed once the record is written."""
        return self.out_dir / RESUME_NAME


@dataclass(frozen=True)
class Stage:
    """One row of the table of stages."""

    run: Callable[[Any, StageContext], dict[str, Any]]
    """`(settings, context)` to the results that go into the record."""
    revision: int
    """Raised whenever the same settings and inputs would give another result."""
    outside: Callable[[Any, Path], dict[str, str]]
    """`(settings, cache_dir)` to {source string: sha256} of what comes from outside the run."""


def nothing_outside(settings: StageSettings, cache_dir: Path) -> dict[str, str]:
    """For stages whose only inputs are other stages."""
    return {}
