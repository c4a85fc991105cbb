"""What every verb needs to know of the call: where the cache is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from moyai.errors import UserError


@dataclass(frozen=True)
class Session:
    """The global options."""

    cache_dir: Path


def session_of(context: typer.Context) -> Session:
    """The session that the program put into the context."""
    session = context.find_root().obj
    assert isinstance(session, Session)
    return session


def require_new(out_dir: Path) -> None:
    """Refuse to write over anything.

    Raises:
        UserError: `out_dir` is there already and is not an empty directory.
    """
    if out_dir.is_dir() and not any(out_dir.iterdir()):
        return
    if out_dir.exists() or out_dir.is_symlink():
        raise UserError(f"{out_dir} exists already", hint="give another name, or remove it first")
