"""Data on stdout, everything else on stderr; no colour where it is not wanted."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console, RenderableType

# Tables that are piped into a file or a pager are not cut at the width of a terminal that is not there.
_MIN_WIDTH = 110


def print_data(data: RenderableType) -> None:
    """A table or text on stdout; `NO_COLOR` and pipes get it plain."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=False)
    console.width = max(console.width, _MIN_WIDTH)
    console.print(data)


def print_json(data: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def stderr_console() -> Console:
    """For bars, notes and errors."""
    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)


def print_error(message: str, hint: str = "") -> None:
    """`error:` and `hint:`, each on a line of its own however narrow the terminal is."""
    console = stderr_console()
    console.print("error:", style="bold red", end=" ")
    console.print(message, soft_wrap=True)
    if hint:
        console.print("\nhint:", style="bold cyan", end=" ")
        console.print(hint, soft_wrap=True)
