"""A recipe whose stages are stand-ins that write one small file and count how often they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moyai.progress import SilentProgress
from moyai.recipe.load import parse_recipe
from moyai.recipe.record import Record
from moyai.run import runner
from moyai.run.runner import run_recipe
from moyai.stages.contract import Stage, StageContext
from moyai.stages.table import STAGES

RECIPE = """
moyai: 1
name: stand-in
base: owner/model
stages:
  - extend: {corpus: starter:ja_text, pieces: 5}
  - upcycle: {experts: 4}
  - pretrain: {corpus: starter:ja_text, tokens: 100}
  - export: {from: upcycle}
"""

Hook = Callable[[Any, StageContext], None]


class StandIns:
    """What ran, in order; `hooks` are called in the middle of a stage, when half of its result is written."""

    def __init__(self, out_dir: Path) -> None:
        self.out_dir = out_dir
        self.ran: list[str] = []
        self.hooks: dict[str, Hook] = {}
        self.hashes: dict[str, str] = {}

    def stage(self, kind: str) -> Stage:
        def work(settings: Any, context: StageContext) -> dict[str, Any]:
            self.ran.append(kind)
            (context.out_dir / "half.txt").write_text("half")
            context.resume_dir.mkdir(exist_ok=True)
            if kind in self.hooks:
                self.hooks[kind](settings, context)
            parents = [(path / "result.txt").read_text() for path in context.inputs.values()]
            (context.out_dir / "result.txt").write_text(f"{kind}({', '.join(parents)})")
            return {"kind": kind}

        return Stage(work, 1, lambda settings, cache_dir: {"source": self.hashes.get(kind, "1")})

    def run(self, *overrides: str, until: str | None = None) -> dict[str, Record]:
        """What the run gives; `ran` holds only what this call ran."""
        self.ran.clear()
        recipe = parse_recipe(RECIPE, where="stand-in", overrides=overrides)
        done = run_recipe(
            recipe, out_dir=self.out_dir, until=until, cache_dir=self.out_dir / "cache", progress=SilentProgress()
        )
        return {record.name: record for _, record in done}

    @property
    def names(self) -> list[str]:
        """Everything in the run directory."""
        return sorted(path.name for path in self.out_dir.iterdir())


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    made = StandIns(tmp_path / "run")
    monkeypatch.setattr(runner, "give_back_freed_memory", lambda: None)  # slow, and nothing here is large
    for kind in list(STAGES):
        monkeypatch.setitem(STAGES, kind, lambda kind=kind: made.stage(kind))
    return made
