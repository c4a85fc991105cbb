"""Rows of a file: JSON Lines, Parquet, or a text file as one row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.compressed import read_lines
from moyai.corpus.reading.parquet import num_parquet_rows, read_parquet
from moyai.recipe.sources import corpus_format

TEXT_COLUMN = "text"
"""Where the text stands if nothing else is said."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row and where it stands."""

    number: int
    """Of its line in a file of lines, else of the row; from 1.  0: the row is the whole file."""
    place: str
    """File and line, or file and row, for messages."""
    values: dict[str, Any]

    def name(self, file: str) -> str:
        """What the row is called where it says no id: FILE:LINE."""
        return f"{file}:{self.number}" if self.number else file


def read_numbered_rows(path: Path, broken: Broken, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a `.jsonl`, `.parquet` or `.txt` file (one row with `text`), also `.gz` or `.zst`, one by one.

    Args:
        path: the file.
        broken: what happens where a line is not UTF-8, no JSON object, or has half a character.
        columns: Parquet only: what is read; default: all.  Those it has not are passed over.

    Raises:
        InputFileError: the file is missing, of no known kind or damaged, or a row is broken and that is to stop.
    """
    match corpus_format(path.name):
        case "text":
            yield from _text(path, broken)
        case "parquet":
            for number, values in read_parquet(path, broken, columns):
                yield Row(number, f"{path} row {number}", values)
        case "lines":
            yield from _json_lines(path, broken)


def count_rows(path: Path) -> int:
    """The number of rows, without looking into them.

    Raises:
        InputFileError: the file is missing, of no known kind, or damaged.
    """
    match corpus_format(path.name):
        case "text":
            return 1
        case "parquet":
            return num_parquet_rows(path)
        case "lines":
            return sum(1 for _ in read_lines(path))


def _text(path: Path, broken: Broken) -> Iterator[Row]:
    lines = []
    for number, raw in enumerate(read_lines(path), start=1):
        line = _decoded(raw, f"{path} line {number}", broken)
        if line is None:
            return
        lines.append(line)
    yield Row(0, str(path), {TEXT_COLUMN: "".join(lines)})


def _json_lines(path: Path, broken: Broken) -> Iterator[Row]:
    for number, raw in enumerate(read_lines(path), start=1):
        place = f"{path} line {number}"
        line = None if raw.isspace() else _decoded(raw, place, broken)
        if line is None:
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            broken.add("not JSON", place, f"is not JSON: {problem}")
            continue
        if not isinstance(values, dict):
            broken.add("not an object", place, "is not a JSON object")
        elif half := _half_character(raw, values):
            broken.add(
                "half a character",
                place,
                f"has half a character, {half} without its other half",
                hint="remove it, or write the character whole",
            )
        else:
            yield Row(number, place, values)


def _decoded(raw: bytes, place: str, broken: Broken) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        broken.add(
            "not UTF-8",
            place,
            f"is not UTF-8: byte 0x{raw[error.start]:02x} at column {error.start + 1}",
            hint="convert the file to UTF-8 first",
        )
        return None


def _half_character(raw: bytes, values: dict[str, Any]) -> str:
    r"""JSON can write half a surrogate pair (`\ud83d` alone), which is no text."""
    if not _SURROGATE.search(raw):
        return ""
    try:
        json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""
