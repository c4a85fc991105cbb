"""What writing needs of a disk: room that is there, and files that are whole or absent."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moyai.errors import DiskSpaceError

PARTIAL = ".partial"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def require_space(directory: Path, needed_bytes: int) -> None:
    """Check that `directory`, which exists, can take `needed_bytes` more.

    Raises:
        DiskSpaceError: it cannot.
    """
    free = shutil.disk_usage(directory).free
    if needed_bytes > free:
        raise DiskSpaceError(
            f"{directory} needs {size_text(needed_bytes)} but has {size_text(free)} free",
            hint="free some space, or write to another disk",
        )


@contextmanager
def full_disk_told(directory: Path, work: str) -> Iterator[None]:
    """Turn the error of a disk that fills up during the work into a sentence.

    Args:
        directory: where the work writes.
        work: what was going on, such as "the index was written".

    Raises:
        DiskSpaceError: the disk or the quota is full, or the file system takes no file as large.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = size_text(shutil.disk_usage(directory).free)
        what, hint = (
            f"filled up, with {free} free,",
            "free some space and run it again: what is whole is kept",
        )
        if error.errno == errno.EFBIG:
            what, hint = "takes no file as large as that", "lower shard_bytes, or write to another disk"
        raise DiskSpaceError(f"{directory} {what} while {work}", hint=hint) from None


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file under a partial name, flush and rename it: it is there whole, or as it was."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    finish_file(partial, path)


def finish_file(partial: Path, path: Path) -> None:
    """Give a file that is written and flushed its final name, and make the name last."""
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def size_text(num_bytes: int) -> str:
    """A number of bytes for a message."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e7 else f"{num_bytes} bytes"
