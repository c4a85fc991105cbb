"""Documents: reading them from files, and who is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.rows import TEXT_COLUMN, Row, read_numbered_rows

Split = Literal["train", "heldout"]

# One document in so many is held out where a file does not say which are.
_HELDOUT_ONE_IN = 64


@dataclass(frozen=True)
class Document:
    """One text."""

    id: str
    text: str
    split: Split


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a `.jsonl` or `.parquet` file, `.jsonl` also packed as `.gz` or `.zst`.

    Raises:
        InputFileError: the file is missing, damaged, not UTF-8, or a line is not a JSON object; file and line are named.
    """
    for row in read_numbered_rows(path, Broken("stop")):
        yield row.values


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a `.jsonl` or `.parquet` file (rows with `text`) or a `.txt` file (one document).

    A row's own `split` (train or heldout) counts; where there is none, one document in 64 is held out by the hash of
    its text, so that the same text is always on the same side, in whichever file it stands.

    Raises:
        InputFileError: as `read_rows`, or a row has no text.
    """
    broken = Broken("stop")
    for row in read_numbered_rows(path, broken, (TEXT_COLUMN, "id", "split")):
        name = row.values.get("id")
        name = row.name(path.name) if name is None else str(name)
        document = to_document(row, text=row.values.get(TEXT_COLUMN), name=name, broken=broken)
        if document is not None:
            yield document


def to_document(row: Row, *, text: object, name: str, broken: Broken, column: str = TEXT_COLUMN) -> Document | None:
    """A row as a document; None where it is broken, which is counted.

    Args:
        row: where it comes from; its `split` counts.
        text: what its text should be.
        name: the document's id.
        broken: what happens where there is no text, or the split is unknown.
        column: where the text was looked for.

    Raises:
        InputFileError: it is broken, and that is to stop.
    """
    split: Any = row.values.get("split")
    if text is None:
        columns = ", ".join(row.values) or "none"
        why = f"its column {column!r} is null" if column in row.values else f"its columns are {columns}, and not {column!r}"
        problem = f"has no text: {why}"
        broken.add("no text", row.place, problem, hint="a source of `prepare` may say `text: COLUMN`; others read `text`")
    elif not isinstance(text, str):
        broken.add("text of another type", row.place, f"has a text that is no string but {type(text).__name__}")
    elif not text or text.isspace():
        broken.add("empty text", row.place, "has no text in it")
    elif split not in (None, "train", "heldout"):
        broken.add("unknown split", row.place, f"has split {split!r}; it must be train or heldout")
    else:
        try:
            encoded = text.encode("utf-8")
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            broken.add("half a character", row.place, f"has half a character, {half} without its other half")
        else:
            return Document(name, text, split or _split_of(encoded))
    return None


def _split_of(text: bytes) -> Split:
    digest = hashlib.sha256(text).digest()
    return "heldout" if int.from_bytes(digest[:8], "big") % _HELDOUT_ONE_IN == 0 else "train"
