"""The record beside every artifact: what it is made of, by what, and what came out.  Its presence means done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from moyai.errors import InputFileError

RECORD_NAME = "record.json"


class Parent(BaseModel):
    """An artifact that this one was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str


class Identity(BaseModel):
    """Everything that decides what a stage will produce."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    revision: int
    settings: dict[str, Any]
    parents: tuple[Parent, ...]
    outside: dict[str, str]
    """Source string of each outside input -> sha256 of its content."""

    def fingerprint(self) -> str:
        """sha256 of the canonical JSON of the identity, 64 hexadecimal digits."""
        return hashlib.sha256(canonical_json(self.model_dump()).encode()).hexdigest()


class Record(BaseModel):
    """`record.json`: identity, results and circumstances of one artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    moyai: str
    name: str
    identity: Identity
    fingerprint: str
    results: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]
    started: str
    seconds: float
    """Working time in all, over every resumed part."""
    peak_bytes: int
    resumed: int


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; a value without a stable form raises TypeError, NaN and infinity ValueError.

    >>> canonical_json({"b": 1, "a": [True, None]})
    '{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def read_record(directory: Path) -> Record:
    """The record of a finished artifact.

    Raises:
        InputFileError: the directory has none, or it is not a record.
    """
    path = directory / RECORD_NAME
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputFileError(f"{directory} has no {RECORD_NAME}", hint="is it a finished stage of a run?") from None
    except ValidationError as error:
        raise InputFileError(f"{path} is not a moyai record ({error.error_count()} problems)") from None


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, read in pieces, and once as long as the file stays as it is."""
    status = path.stat()
    return _sha256(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, inode: int, num_bytes: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def records_of_run(run_dir: Path) -> Mapping[str, tuple[Path, Record]]:
    """Every finished artifact of a run directory by stage name, in the order of the stages."""
    found = sorted(path.parent for path in run_dir.glob(f"[0-9][0-9]-*/{RECORD_NAME}"))
    return {record.name: (directory, record) for directory in found for record in [read_record(directory)]}
