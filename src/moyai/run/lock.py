"""One run at a time in a directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moyai.errors import BusyError


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Hold `directory` for this process; the lock goes with the process, however it ends.

    Raises:
        BusyError: another process holds it.
    """
    path = directory / ".moyai-lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(
                f"another run (process {file.read().strip() or 'unknown'}) holds {directory}",
                hint="wait for it, or give another --out",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
