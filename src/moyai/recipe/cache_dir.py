"""Where downloads are kept."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """`$MOYAI_CACHE`, else `$XDG_CACHE_HOME/moyai`, else `~/.cache/moyai`; a relative XDG_CACHE_HOME does not count."""
    if own := os.environ.get("MOYAI_CACHE"):
        return Path(own).expanduser()
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path.home() / ".cache") / "moyai"
