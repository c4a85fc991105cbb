"""Documents and conversations: reading them from JSON Lines or plain text, and who is held out."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moyai.errors import InputFileError

Split = Literal["train", "heldout"]

# One document in so many is held out where a file does not say which are.
_HELDOUT_ONE_IN = 64


@dataclass(frozen=True)
class Document:
    """One text."""

    id: str
    text: str
    split: Split


@dataclass(frozen=True)
class Conversation:
    """One conversation: messages of `role` and `content`, in order."""

    id: str
    messages: tuple[dict[str, str], ...]


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a `.jsonl` or `.jsonl.gz` file.

    Raises:
        InputFileError: the file is missing, cut short, not UTF-8, or a line is not a JSON object; file and line are named.
    """
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputFileError(f"{path} line {number} is not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise InputFileError(f"{path} line {number} is not a JSON object")
        if "\\ud" in line.lower():
            _refuse_half_characters(row, f"{path} line {number}")
        yield row


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a `.jsonl`, `.jsonl.gz` (rows with `text`) or `.txt` file (one document).

    A row's own `split` (train or heldout) counts; where there is none, one document in 64 is held out by the hash of
    its text, so that the same text is always on the same side, in whichever file it stands.

    Raises:
        InputFileError: as `read_rows`, or a row has no text.
    """
    if path.name.endswith(".txt"):
        whole = "".join(_lines(path))
        yield Document(path.name, whole, _split_of(whole))
        return
    for number, row in enumerate(read_rows(path), start=1):
        text: Any = row.get("text")
        split: Any = row.get("split")
        if not isinstance(text, str) or not text:
            raise InputFileError(f"{path} row {number} has no text", hint='each row is an object with a "text"')
        if split not in (None, "train", "heldout"):
            raise InputFileError(f"{path} row {number} has split {split!r}; it must be train or heldout")
        yield Document(str(row.get("id", f"{path.name}:{number}")), text, split or _split_of(text))


def read_conversations(path: Path) -> Iterator[Conversation]:
    """The conversations of a `.jsonl` or `.jsonl.gz` file: rows with `messages`.

    Raises:
        InputFileError: as `read_rows`, or a row has no well-formed messages.
    """
    for number, row in enumerate(read_rows(path), start=1):
        messages = row.get("messages")
        well_formed = isinstance(messages, list) and all(
            isinstance(m, dict) and m.get("role") in ("system", "user", "assistant") and isinstance(m.get("content"), str)
            for m in messages
        )
        if not messages or not well_formed:
            raise InputFileError(
                f"{path} row {number} has no messages of role (system, user, assistant) and content"
            )
        clean = tuple({"role": m["role"], "content": m["content"]} for m in messages)
        yield Conversation(str(row.get("id", f"{path.name}:{number}")), clean)


def _refuse_half_characters(row: dict[str, Any], where: str) -> None:
    r"""JSON can write half a surrogate pair (`\ud83d` alone), which is no text."""
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputFileError(
            f"{where} has half a character, \\u{ord(error.object[error.start]):04x} without its other half",
            hint="remove it, or write the character whole",
        ) from None


def _split_of(text: str) -> Split:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "heldout" if int.from_bytes(digest[:8], "big") % _HELDOUT_ONE_IN == 0 else "train"


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):  # noqa: B007 - named in the messages below
                yield raw.decode("utf-8")
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"{path} line {number} is not UTF-8: byte 0x{error.object[error.start]:02x} at column {error.start + 1}",
            hint="convert the file to UTF-8 first",
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputFileError(f"{path} is not a whole gzip file: {error}") from None
