"""Records of equal size in many files, read as one long list."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moyai.errors import InputFileError


class Records:
    """Records of `width` little-endian uint32 numbers, one after the other in each file; numbered through all files.

    Files are opened where they are needed and closed again, so there may be any number of them.

    Raises:
        InputFileError: a file is missing or does not hold whole records.
    """

    def __init__(self, paths: Sequence[Path], width: int) -> None:
        self.paths = tuple(paths)
        self.width = width
        self.starts: tuple[int, ...] = tuple(accumulate(map(self._num_records, paths), initial=0))
        """The number of the first record of each file, and the number of all records."""

    def __len__(self) -> int:
        return self.starts[-1]

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint32]]]:
        """All records in order: the number of the first, and up to `size` records, uint32 [records, width]."""
        for path, start, stop in zip(self.paths, self.starts, self.starts[1:], strict=False):
            with path.open("rb") as file:
                for first in range(start, stop, size):
                    count = min(size, stop - first)
                    block = np.fromfile(file, "<u4", count * self.width)
                    yield first, block.reshape(count, self.width)

    def of(self, numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The records of these numbers, uint32 [numbers, width]."""
        found = np.empty((len(numbers), self.width), np.uint32)
        order = np.argsort(numbers, kind="stable")
        wanted = numbers[order]
        start = 0
        while start < len(wanted):
            file = bisect_right(self.starts, wanted[start]) - 1
            stop = start + int(np.searchsorted(wanted[start:], self.starts[file + 1]))
            records = np.memmap(self.paths[file], "<u4", "r").reshape(-1, self.width)
            found[order[start:stop]] = records[wanted[start:stop] - self.starts[file]]
            start = stop
        return found

    def check_rows_of(self, other: Records) -> None:
        """See that each file has as many records as the one in the same place of `other`.

        Raises:
            InputFileError: one has not.
        """
        for path, start, stop, begin, end in zip(
            self.paths, self.starts, self.starts[1:], other.starts, other.starts[1:], strict=False
        ):
            if stop - start != end - begin:
                raise InputFileError(
                    f"{path} has {stop - start} records, and there are {end - begin} documents",
                    hint="remove it; it is made again",
                )

    def _num_records(self, path: Path) -> int:
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise InputFileError(f"{path} does not exist") from None
        count, rest = divmod(size, 4 * self.width)
        if rest:
            raise InputFileError(
                f"{path} has {size} bytes, which are no whole records of {4 * self.width} bytes",
                hint="remove it; it is made again",
            )
        return count
