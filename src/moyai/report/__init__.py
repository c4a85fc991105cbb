"""What records say, for people: model card and page.  Only reads; nothing but cli imports it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moyai.report.card import render_card
from moyai.report.lineage import read_run
from moyai.report.page import PAGE_NAME, render_page
from moyai.report.summary import summary_table

__all__ = ["CARD_NAME", "PAGE_NAME", "ReportPaths", "build_report", "summary_table"]

CARD_NAME = "README.md"


@dataclass(frozen=True)
class ReportPaths:
    """What `build_report` wrote."""

    card: Path
    page: Path


def build_report(run_dir: Path) -> ReportPaths:
    """Write `README.md` (model card) and `index.html` (page) of a run, finished or stopped early.

    Raises:
        InputFileError: no stage of `run_dir` is finished, or a file is not what its name says.
        RecipeError: the run's `recipe.yaml` does not fit the schema.
    """
    report = read_run(run_dir)
    paths = ReportPaths(card=run_dir / CARD_NAME, page=run_dir / PAGE_NAME)
    card, page = render_card(report), render_page(report)
    _write_whole(paths.card, card)
    _write_whole(paths.page, page)
    return paths


def _write_whole(path: Path, text: str) -> None:
    """A reader finds the old file or the new one, never half of one."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)
