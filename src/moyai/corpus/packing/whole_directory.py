"""A directory that is made whole or not at all, even where two processes on two machines make it at once."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moyai.checkpoint.disk import PARTIAL


@contextmanager
def whole_directory(directory: Path) -> Iterator[Path]:
    """A new directory to write into, which becomes `directory` where all went well and is removed where not.

    What is in it is on the disk before it has its name.  Where another process has been faster its result stays: it is
    the same.
    """
    with partial_directory(directory) as partial:
        yield partial
        _flush(partial)
        try:
            partial.replace(directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        _flush_names(directory.parent)


@contextmanager
def partial_directory(directory: Path) -> Iterator[Path]:
    """A new directory beside `directory`, named after it, this machine and this process, and removed at the end."""
    partial = directory.with_name(f"{directory.name}{_own_suffix()}{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_unless(directory: Path, wanted: Callable[[Path], bool]) -> None:
    """Remove a directory, if there is one; the whole result of another process that came between stays.

    Args:
        directory: what is in the way.
        wanted: whether what was found there, under the name that it is given, is such a result.
    """
    if not directory.exists():
        return
    with partial_directory(directory) as aside:
        with suppress(FileNotFoundError):
            directory.replace(aside)
        if wanted(aside):
            with suppress(OSError):  # a third process has made it once more
                aside.replace(directory)


def remove_left_over(parent: Path) -> None:
    """Remove the partial directories in `parent` of processes of this machine that are gone.

    Those with this process's own number are an earlier one's, so it must not be at work on any.
    """
    for path in parent.glob(f"*{PARTIAL}-*"):
        number = path.name.rpartition(_own_suffix())[2]
        if number.isdecimal() and (int(number) == os.getpid() or not _runs(int(number))):
            shutil.rmtree(path, ignore_errors=True)


def _own_suffix() -> str:
    return f"{PARTIAL}-{socket.gethostname()}-"


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _flush(directory: Path) -> None:
    """Bring all that is in a directory to the disk."""
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            with Path(parent, name).open("rb") as file:
                os.fsync(file.fileno())
        _flush_names(Path(parent))


def _flush_names(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
