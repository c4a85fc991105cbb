"""Rows of a Parquet file, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moyai.corpus.extras import need
from moyai.corpus.reading.broken import Broken
from moyai.errors import InputFileError

_WHAT = "Parquet files"
# Of a column's file pages, so that memory does not grow with the size of a row group.
_BUFFER_BYTES = 1 << 20
_BATCH_ROWS = 256


def read_parquet(path: Path, broken: Broken, columns: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a Parquet file with their numbers, from 1.

    Args:
        path: the file.
        broken: what happens to a row whose text is not UTF-8.
        columns: names to read, `a.b` for `b` inside of `a`; those that are not there are passed over.  Default: all.

    Raises:
        InputFileError: the file is missing or damaged; the last good row is named.
        UserError: pyarrow is not installed.
    """
    number = 0
    with _opened(path) as file:
        with _damage_told(path, 0):
            there = None if columns is None else [name for name in columns if _has_column(file, name)]
        batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=there)
        while True:
            with _damage_told(path, number):
                batch = next(batches, None)
            if batch is None:
                return
            for values in _rows(batch):
                number += 1
                if values is None:
                    place = f"{path} row {number}"
                    broken.add("not UTF-8", place, "is not UTF-8", hint="write the file again with text in UTF-8")
                else:
                    yield number, values


def parquet_columns(path: Path) -> list[str]:
    """The names of the columns, and `a.b` of those inside of them.

    Raises:
        InputFileError: the file is missing or damaged.
        UserError: pyarrow is not installed.
    """
    with _opened(path) as file, _damage_told(path, 0):
        return list(dict.fromkeys([*file.schema_arrow.names, *_leaves(file)]))


def num_parquet_rows(path: Path) -> int:
    """The number of rows, from the file's end.

    Raises:
        InputFileError: the file is missing or damaged.
        UserError: pyarrow is not installed.
    """
    with _opened(path) as file:
        return int(file.metadata.num_rows)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    parquet = need("pyarrow.parquet", _WHAT)
    with _damage_told(path, 0):
        file = parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    with file:
        yield file


@contextmanager
def _damage_told(path: Path, number: int) -> Iterator[None]:
    arrow = need("pyarrow", _WHAT)
    try:
        yield
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist") from None
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputFileError(
            f"{path} is not a whole Parquet file: it breaks after row {number}: {first_line}", hint="fetch it again"
        ) from None


def _has_column(file: Any, name: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for path in _leaves(file))


def _leaves(file: Any) -> list[str]:
    return [file.schema.column(index).path for index in range(len(file.schema))]


def _rows(batch: Any) -> Iterator[dict[str, Any] | None]:
    """One item a row, None for one that is not UTF-8: the format promises text and nothing checks it."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield from batch.slice(index, 1).to_pylist()
            except UnicodeDecodeError:
                yield None
