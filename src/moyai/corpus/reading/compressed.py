"""Lines of a file as bytes, plain or compressed; an archive that is cut short or damaged is told, with the place."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from moyai.errors import InputFileError

_READ_BYTES = 1 << 20
# What so many packed bytes unpack to is in memory at once, and they may unpack to thousands of times as many.
_PACKED_BYTES = 1 << 12
_GZIP_WITH_CHECKSUM = 31
# Frames that were written with a long window; the library's own limit is 128 MiB.
_ZSTD_MAX_WINDOW_BYTES = 1 << 31
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[bytes]:
    r"""The lines of a file, each with its `\n`, read as they are asked for; `.gz` and `.zst` are unpacked on the way.

    Archives of several members or frames are read to their end.  A byte order mark at the beginning is left out.

    Raises:
        InputFileError: the file is missing, or its archive is cut short or damaged; the last good line is named.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_unpacked(path, file), start=1):
                yield line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise InputFileError(f"{path} is a directory, not a file") from None
    except (EOFError, zlib.error, zstandard.ZstdError) as error:
        kind = "gzip" if path.suffix == ".gz" else "zstd"
        raise InputFileError(
            f"{path} is not a whole {kind} file: it breaks after line {number}: {error}", hint="fetch or pack it again"
        ) from None


def _unpacked(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    match path.suffix:
        case ".gz":
            members = _Members(file, lambda: zlib.decompressobj(_GZIP_WITH_CHECKSUM))
        case ".zst":
            library = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW_BYTES)
            members = _Members(file, library.decompressobj)
        case _:
            return iter(file)
    return iter(io.BufferedReader(members, _READ_BYTES))


class _Members(io.RawIOBase):
    """The content of an archive, member after member (zstd says frame), up to the very place where it breaks.

    The library's own reader of zstd takes a frame that is cut short for one that has ended.
    """

    def __init__(self, file: IO[bytes], new_member: Callable[[], Any]) -> None:
        self._file = file
        self._new_member = new_member
        self._member: Any = None
        self._num_members = 0
        self._packed = b""
        self._unpacked = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacked:
            if not self._packed:
                self._packed = self._file.read(_PACKED_BYTES)
            if self._member is None and self._num_members:
                self._packed = self._packed.lstrip(b"\0")  # gzip files on tapes are padded
            if self._packed:
                self._advance()
            elif self._member is not None or not self._num_members:
                raise EOFError("it ends too early" if self._num_members else "it is empty")
            elif not self._file.peek(1):  # type: ignore[attr-defined]  # a file opened for reading bytes is buffered
                return 0
        size = min(len(buffer), len(self._unpacked))
        buffer[:size] = self._unpacked[:size]
        self._unpacked = self._unpacked[size:]
        return size

    def _advance(self) -> None:
        if self._member is None:
            self._member = self._new_member()
            self._num_members += 1
        self._unpacked = memoryview(self._member.decompress(self._packed))
        self._packed = self._member.unused_data
        if self._member.eof:
            self._member = None
