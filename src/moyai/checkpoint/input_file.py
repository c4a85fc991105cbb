"""Opening a file that somebody else made: whatever is wrong with it becomes one sentence."""

from __future__ import annotations

import os
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from moyai.errors import InputFileError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 160
_SHORT.maxlist = _SHORT.maxtuple = 12
_SHORT.maxlevel = 3


@contextmanager
def open_input(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading; links are followed.

    Raises:
        InputFileError: it does not exist, is a directory or a device, or cannot be read.
    """
    try:
        # Without O_NONBLOCK a named pipe would wait for ever for its other end.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISREG(mode):
                what = "a directory" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
                raise InputFileError(f"{path} is {what}, not a file")
            with open(handle, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist", hint="is it still to be fetched, or a broken link?") from None
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror or error}") from None


def shown(value: object) -> str:
    """A value out of a file, as Python writes it, cut to what fits into a message.

    >>> shown([1] * 100)
    '[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ...]'
    """
    return _SHORT.repr(value)
