"""Reading a source: its files, and the documents of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from moyai.corpus.instructions.row_shapes import RowError
from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.documents import Document, Split, read_documents, to_document
from moyai.corpus.reading.hub import open_split
from moyai.corpus.reading.parquet import parquet_columns
from moyai.corpus.reading.rows import TEXT_COLUMN, Row, read_numbered_rows
from moyai.errors import InputFileError
from moyai.recipe.corpus_settings import CorpusSource
from moyai.recipe.sources import corpus_file, corpus_files, corpus_format, parse_hub_corpus

_SPLIT_COLUMN = "split"


def input_files(source: CorpusSource) -> list[str]:
    """The files of a source, each once: globs and directories expanded and sorted, `starter:` and `hub:` names as they are.

    Raises:
        InputFileError: nothing is there.
        SourceError: a hub name does not have the form it should have.
    """
    files: dict[str | Path, str] = {}
    for text in source.files:
        for name in corpus_files(text):
            # one file can be spelled in many ways
            files.setdefault(name if name.startswith("hub:") else corpus_file(name).resolve(), name)
    return list(files.values())


def named_documents(name: str, split: Split) -> Iterator[Document]:
    """The training or the held-out documents of all files that `name` stands for, with their texts in the column `text`.

    Raises:
        InputFileError: nothing is there, or a file or a line cannot be read.
    """
    source = CorpusSource(files=(name,))
    for file in input_files(source):
        on_hub = file.startswith("hub:")
        documents = read_source(file, source, Broken("stop")) if on_hub else read_documents(corpus_file(file))
        yield from (document for document in documents if document.split == split)


def read_source(file: str, source: CorpusSource, broken: Broken, *, seed: int = 0) -> Iterator[Document]:
    """The documents of one of the files of `source`, in order, read as they are asked for.

    A document is called what its row says in the column `id`, or FILE:LINE.

    Args:
        file: one of `input_files`.
        source: which columns hold text and id, and how many documents are wanted.
        broken: what happens to lines and documents that cannot be read.
        seed: of the forms in which instructions are written out.

    Raises:
        InputFileError: the file is missing or damaged, has no such column, or a line is broken and that is to stop.
        SourceError: the hub does not give the data set.
        UserError: a library that the file needs is not installed.
    """
    return islice(_documents(file, source, broken, seed), source.max_documents)


def _documents(file: str, source: CorpusSource, broken: Broken, seed: int) -> Iterator[Document]:
    for row in _rows(file, source, broken):
        try:
            text = _text(row, source, seed)
        except RowError as error:
            broken.add(error.reason, row.place, error.problem, hint=error.hint)
            continue
        document = to_document(row, text=text, name=_name(file, row, source), broken=broken, column=source.text)
        if document is not None:
            yield document


def _rows(file: str, source: CorpusSource, broken: Broken) -> Iterator[Row]:
    columns = None if source.render == "instructions" else (source.text, source.id or source.text, _SPLIT_COLUMN)
    if file.startswith("hub:"):
        yield from _hub_rows(file, source, columns)
        return
    path = corpus_file(file)
    if columns is not None and corpus_format(path.name) == "parquet":
        _check_columns(file, source, parquet_columns(path))
    for row in read_numbered_rows(path, broken, columns):
        yield row if row.number else replace(row, values={source.text: row.values[TEXT_COLUMN]})


def _hub_rows(file: str, source: CorpusSource, columns: Sequence[str] | None) -> Iterator[Row]:
    split = open_split(parse_hub_corpus(file))
    tops = columns and {top for name in columns for top in (name, name.split(".")[0])}
    if columns is not None and split.columns is not None:
        _check_columns(file, source, split.columns)
    for number, values in enumerate(split.rows(tops), start=1):
        yield Row(number, f"{file} row {number}", values)


def _check_columns(file: str, source: CorpusSource, there: Sequence[str]) -> None:
    for key, name in (("text", source.text), ("id", source.id)):
        if name is not None and name not in there and name.split(".")[0] not in there:
            raise InputFileError(
                f"{file} has no column {name!r}, which `{key}` names", hint=f"it has {', '.join(there)}"
            )


def _text(row: Row, source: CorpusSource, seed: int) -> object:
    if source.render == "instructions":
        from moyai.corpus.instructions.text import render_row

        return render_row(row.values, seed=seed, where=row.place)
    return _column(row.values, source.text)


def _name(file: str, row: Row, source: CorpusSource) -> str:
    name = _column(row.values, source.id) if source.id is not None else None
    return row.name(file) if name is None else str(name)


def _column(values: Mapping[str, Any], name: str) -> Any:
    """What stands in a column; `a.b` is `b` inside of `a`, unless there is a column of that very name."""
    if name in values or "." not in name:
        return values.get(name)
    top, _, rest = name.partition(".")
    inside = values.get(top)
    return _column(inside, rest) if isinstance(inside, Mapping) else None
