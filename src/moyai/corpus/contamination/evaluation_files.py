"""Files of evaluation sets: which there are, and the texts of their items, whatever their columns are called."""

from __future__ import annotations

import bz2
import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import has_magic
from itertools import takewhile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.compressed import read_lines
from moyai.corpus.reading.rows import read_numbered_rows
from moyai.errors import InputFileError
from moyai.recipe.sources import corpus_file

_ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".en", ".ja", ".xml", ".parquet")
_PACKED = (".gz", ".zst", ".bz2")
_HINT = f"evaluation sets are files {', '.join(_ENDINGS)}, also {', '.join(_PACKED)}, or directories of them"


@dataclass(frozen=True)
class EvaluationFiles:
    """What a setting's paths, globs and directories come to."""

    sets: dict[str, Path]
    """Name of the set, which is its path below the directory that all of them share, and its file; sorted."""
    left_out: tuple[Path, ...]
    """Files in the directories that hold no items, by their ending."""

    @classmethod
    def find(cls, names: Iterable[str]) -> EvaluationFiles:
        """The evaluation sets that `names` stand for: files, globs, directories, or starter:NAME.

        Raises:
            InputFileError: there is nothing at a name, or it is a file of no known kind.
        """
        files = {path: None for name in names for path in _files(name)}
        known = sorted(path for path in files if _ending(path) in _ENDINGS)
        above = os.path.commonpath([path.parent for path in known]) if known else ""
        sets = {path.relative_to(above).as_posix(): path for path in known}
        return cls(sets, tuple(sorted(path for path in files if _ending(path) not in _ENDINGS)))


def read_items(path: Path) -> Iterator[list[str]]:
    """Every text of each item of an evaluation set, in order.

    An item is a row of a table, a line of a text file, a child of an XML file's root, and in JSON an object of the
    outermost list; what lies deeper belongs to it.  An article with `paragraphs` (SQuAD) has an item for each of them.

    Raises:
        InputFileError: the file is missing or damaged, or is not what its ending says.
        UserError: a library that the file needs is not installed.
    """
    for item in _items(path):
        yield list(_texts(item))


def _files(name: str) -> Iterator[Path]:
    if name.startswith("starter:"):
        yield corpus_file(name)
        return
    path = Path(name).expanduser().resolve()
    if path.is_file():
        if _ending(path) not in _ENDINGS:
            raise InputFileError(f"{name} is of no kind that can be read", hint=_HINT)
        yield path
        return
    found = [path] if path.is_dir() else sorted(_matching(path))
    if not found:
        raise InputFileError(f"evaluation set {name} does not exist", hint=_HINT)
    for place in found:
        yield from (place,) if place.is_file() else sorted(inner for inner in place.rglob("*") if inner.is_file())


def _matching(pattern: Path) -> Iterator[Path]:
    fixed = Path(*takewhile(lambda part: not has_magic(part), pattern.parts))
    return fixed.glob(str(pattern.relative_to(fixed))) if fixed != pattern else iter(())


def _ending(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in _PACKED else path).suffix


def _items(path: Path) -> Iterator[Any]:
    match _ending(path):
        case ".parquet":
            yield from (row.values for row in read_numbered_rows(path, Broken("stop")))
        case ".csv":
            yield from _table(path, csv.reader(_lines(path)))
        case ".tsv":
            # quotation marks in them are the text's own
            yield from _table(path, csv.reader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE))
        case ".xml":
            yield from _xml(path)
        case ".json":
            yield from _json(path)
        case ".jsonl":
            yield from _json_lines(path, _lines(path))
        case _:
            yield from _lines(path)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inside in value.values() if isinstance(value, dict) else value:
            yield from _texts(inside)


def _table(path: Path, reader: Any) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise InputFileError(f"{path} line {reader.line_num} is not a row of a table: {error}") from None


def _xml(path: Path) -> Iterator[list[str]]:
    try:
        root = ElementTree.fromstring("".join(_lines(path)))
    except ElementTree.ParseError as error:
        raise InputFileError(f"{path} is not XML: {error}") from None
    for child in root:
        yield [text for element in child.iter() for text in (element.text, element.tail) if text]


def _json(path: Path) -> Iterator[Any]:
    lines = list(_lines(path))
    try:
        whole = json.loads("".join(lines))
    except (ValueError, RecursionError):
        # JSON Lines are often called .json
        yield from _json_lines(path, lines)
        return
    lists = [part for part in whole.values() if _has_objects(part)] if isinstance(whole, dict) else []
    for item in [item for part in lists for item in part] or (whole if isinstance(whole, list) else [whole]):
        paragraphs: Any = item.get("paragraphs") if isinstance(item, dict) else None
        yield from paragraphs if _has_objects(paragraphs) else [item]


def _has_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(inside, dict) for inside in value)


def _json_lines(path: Path, lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise InputFileError(f"{path} line {number} is not JSON: {problem}") from None


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        for number, raw in enumerate(_raw_lines(path), start=1):  # noqa: B007 - named in the message below
            yield raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"{path} line {number} is not UTF-8: byte 0x{error.object[error.start]:02x} at column {error.start + 1}",
            hint="convert the file to UTF-8 first",
        ) from None


def _raw_lines(path: Path) -> Iterator[bytes]:
    if path.suffix != ".bz2":
        yield from read_lines(path)
        return
    try:
        with bz2.open(path) as file:
            yield from file
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist") from None
    except (OSError, EOFError) as error:
        raise InputFileError(f"{path} is not a whole bzip2 file: {error}", hint="fetch it again") from None
