"""Packing a source in parts: neighbouring cleaned files, without their duplicates, into shards of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from moyai.checkpoint.disk import full_disk_told, replace_file
from moyai.corpus.duplicates.find import Duplicates
from moyai.corpus.packing.clean import Cleaned, CleanedFile
from moyai.corpus.packing.dropped import DroppedSamples
from moyai.corpus.packing.pack import pack_texts
from moyai.corpus.packing.packed import PackedBy, Shard
from moyai.corpus.packing.whole_directory import remove_unless, whole_directory
from moyai.tokenizer.load import load_tokenizer

LIKE_HELD_OUT = "like a held-out document"

_COUNTS_NAME = "packed.json"


@dataclass(frozen=True)
class PackJob:
    """Neighbouring cleaned files of a source, and where their shards go."""

    source: str
    files: tuple[int, ...]
    """Their numbers in the corpus."""
    cleaned: Path
    """Where the cleaned files lie, see `cleaned_file`."""
    duplicates: Path
    """Where `SavedDuplicates` has put them."""
    starts: tuple[int, ...]
    """The number of the first kept document of each file of the corpus, and the number of all documents.

    Held-out documents come before all of these, so the first number is how many they are.
    """
    tokenizer_dir: Path
    packed_by: PackedBy
    shard_bytes: int
    dropped_samples: int
    seed: int
    directory: Path
    """Made whole or not at all; its parent exists."""


class PackedPart(BaseModel):
    """What was packed of a part, and which duplicates were left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: int
    tokens: int
    characters: int
    bytes: int
    shards: tuple[Shard, ...]
    dropped: dict[str, int]


def cleaned_file(root: Path, number: int) -> CleanedFile:
    """Where the `number`-th file of a corpus lies when it is cleaned."""
    return CleanedFile(root / f"{number:06}")


@dataclass(frozen=True)
class SavedDuplicates:
    """The result of the comparison, as files that are mapped: whole or not there at all."""

    directory: Path

    def save(self, found: Duplicates) -> None:
        """Write it."""
        with whole_directory(self.directory) as partial:
            np.save(partial / "first.npy", found.first)
            np.save(partial / "exact.npy", found.exact)

    def load(self, starts: Sequence[int]) -> Duplicates:
        """Map it."""
        first: NDArray[np.uint32] = np.load(self.directory / "first.npy", mmap_mode="r")
        exact: NDArray[np.bool_] = np.load(self.directory / "exact.npy", mmap_mode="r")
        return Duplicates(tuple(starts), first, exact)


def plan_parts(cleaned: Sequence[Cleaned], part_bytes: int) -> list[tuple[int, ...]]:
    """Which files are packed together: neighbours of one source, up to `part_bytes` of text, or one alone.

    Returns:
        The files' numbers.
    """
    parts: list[list[int]] = []
    size = 0
    for number, counts in enumerate(cleaned):
        fits = parts and cleaned[parts[-1][-1]].source == counts.source and size + counts.kept_bytes <= part_bytes
        if not fits:
            parts.append([])
            size = 0
        parts[-1].append(number)
        size += counts.kept_bytes
    return [tuple(part) for part in parts]


def part_counts(directory: Path) -> PackedPart | None:
    """What was packed in a part; None where it is not done, or was by another version of the program."""
    try:
        return PackedPart.model_validate_json((directory / _COUNTS_NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def part_samples(directory: Path) -> Path:
    """The samples of the part's duplicates."""
    return directory / "dropped.jsonl"


def pack_part(job: PackJob, advance: Callable[[int], None] = lambda characters: None) -> PackedPart:
    """Do a job, unless it is done already.  The shards lie in a directory of the source's name inside `job.directory`.

    Raises:
        InputFileError: the tokenizer or a cleaned file cannot be read.
        DiskSpaceError: the disk is full.
    """
    if part_counts(job.directory) is None:
        remove_unless(job.directory, lambda directory: part_counts(directory) is not None)
    done = part_counts(job.directory)
    if done is not None:
        advance(done.characters)
        return done
    kept = _Kept(job)
    tokenizer = load_tokenizer(job.tokenizer_dir / "tokenizer.json")
    with full_disk_told(job.directory.parent, f"{job.source} was packed"), whole_directory(job.directory) as partial:
        packed = pack_texts(
            kept.texts(), tokenizer, job.packed_by, partial / job.source, shard_bytes=job.shard_bytes, advance=advance
        )
        counts = PackedPart(**vars(packed), dropped=kept.dropped)
        kept.samples.write_file(part_samples(partial))
        replace_file(partial / _COUNTS_NAME, counts.model_dump_json().encode("utf-8"))
    return counts


class _Kept:
    """The texts of a part without the duplicates, which are counted."""

    def __init__(self, job: PackJob) -> None:
        self._job = job
        self.dropped: dict[str, int] = {}
        self.samples = DroppedSamples(job.dropped_samples, job.seed)

    def texts(self) -> Iterator[str]:
        """What is to be packed, in order."""
        job = self._job
        found = SavedDuplicates(job.duplicates).load(job.starts)
        for number in job.files:
            dropped = found.dropped(number)
            for row, document in enumerate(cleaned_file(job.cleaned, number).read()):
                if dropped[row]:
                    self._drop(found, number, row, document)
                else:
                    yield document["text"]

    def _drop(self, found: Duplicates, number: int, row: int, document: dict[str, str]) -> None:
        reason: str | None = found.reason(number, row)
        assert reason is not None
        more: dict[str, Any] = {}
        if found.first[found.starts[number] + row] < found.starts[0]:
            reason = LIKE_HELD_OUT
        else:
            original, place = found.original(number, row)
            source, other = self._name(original)
            more = {"like": {"source": source, "file": other, "kept_document": place + 1}}
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        file = self._name(number)[1]
        self.samples.add(reason, self._job.source, file, row + 1, id=document["id"], **more, text=document["text"])

    def _name(self, number: int) -> tuple[str, str]:
        """Source and name of a file."""
        counts = cleaned_file(self._job.cleaned, number).counts()
        assert counts is not None
        return counts.source, counts.file
