"""moyai report: the model card and the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="What `moyai run` wrote.")],
) -> None:
    """Write the model card and the page of a run.

    README.md and index.html, in the run's directory.
    """
    from moyai.report import build_report

    written = build_report(run_dir)
    print(written.card)
    print(written.page)
