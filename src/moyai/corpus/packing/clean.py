"""Cleaning one input file: what is kept, what is held out, what is dropped and why, and what duplicates are found by.

The work on one file needs nothing but its job, writes one directory, and leaves it whole or not at all; so many
processes, or many machines that share a disk, can do the files of a corpus in any order, and again after a crash.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from pydantic import BaseModel, ConfigDict, ValidationError

from moyai.checkpoint.disk import full_disk_told, replace_file
from moyai.corpus.contamination.evaluation_texts import EvaluationTexts, Hit
from moyai.corpus.contamination.report import ContaminationReport
from moyai.corpus.duplicates.find import SignedFile, text_digest
from moyai.corpus.duplicates.minhash import signature, signature_scheme
from moyai.corpus.packing.dropped import DroppedSamples
from moyai.corpus.packing.processes import count_done
from moyai.corpus.packing.whole_directory import remove_unless, whole_directory
from moyai.corpus.quality.filters import quality
from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.compressed import read_lines
from moyai.corpus.reading.documents import Document
from moyai.corpus.reading.read import read_source
from moyai.errors import InputFileError
from moyai.recipe.corpus_settings import ContaminationSettings, PrepareSettings

HELD_OUT, CONTAMINATED = "held out", "contaminated"

_COUNTS_NAME = "counts.json"
_COUNT_EVERY = 256
_ZSTD_LEVEL = 1


@dataclass(frozen=True)
class CleanJob:
    """One input file, what is to be done with it, and where the result goes."""

    source: str
    file: str
    settings: PrepareSettings
    directory: Path
    """Made whole or not at all; its parent exists."""


class Cleaned(BaseModel):
    """What became of the documents of one file: `read` is `kept` and all that is in `dropped` together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    file: str
    scheme: str
    """How the signatures were made; others cannot be compared with them."""
    read: int
    kept: int
    kept_characters: int
    kept_bytes: int
    """Of the kept text in UTF-8."""
    dropped: dict[str, int]

    @property
    def held_out(self) -> int:
        """How many of the dropped documents are held out."""
        return self.dropped.get(HELD_OUT, 0)


@dataclass(frozen=True)
class CleanedFile:
    """The directory that cleaning a file leaves."""

    directory: Path

    @property
    def documents(self) -> Path:
        """`{id, text}` of what is kept, JSON Lines in zstd."""
        return self.directory / "documents.jsonl.zst"

    @property
    def held_out(self) -> Path:
        """`{id, text, split}` of what is held out, JSON Lines in gzip."""
        return self.directory / "heldout.jsonl.gz"

    @property
    def dropped(self) -> Path:
        """Samples of what was dropped."""
        return self.directory / "dropped.jsonl"

    @property
    def contamination(self) -> Path:
        """What the file has of evaluation sets, where they were looked for."""
        return self.directory / "contamination.json"

    @property
    def signed(self) -> SignedFile:
        """Digests and signatures of what is kept."""
        return SignedFile(self.directory / "digests", self.directory / "signatures")

    @property
    def signed_held_out(self) -> SignedFile:
        """Digests and signatures of what is held out."""
        return SignedFile(self.directory / "heldout-digests", self.directory / "heldout-signatures")

    def read(self) -> Iterator[dict[str, str]]:
        """The kept documents, `id` and `text`, in order.

        Raises:
            InputFileError: the file of them is damaged, or there are fewer or more than were kept.
        """
        number, counts = 0, self.counts()
        for number, line in enumerate(read_lines(self.documents), start=1):  # noqa: B007 - compared below
            yield json.loads(line)
        if counts is None or number != counts.kept:
            kept = "an unknown number of" if counts is None else counts.kept
            raise InputFileError(
                f"{self.documents} has {number} documents, and {kept} were kept",
                hint=f"remove {self.directory}; it is made again",
            )

    def counts(self) -> Cleaned | None:
        """What became of the file's documents; None where it is not done, or was by another version of the program."""
        try:
            return Cleaned.model_validate_json((self.directory / _COUNTS_NAME).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None


def clean_file(job: CleanJob) -> Cleaned:
    """Do a job, unless it is done already; what is in its way is removed.

    Raises:
        InputFileError: the file is missing or damaged, or a document is broken and that is to stop.
        UserError: a library that the settings need is not installed.
        DiskSpaceError: the disk is full.
    """
    scheme = signature_scheme(job.settings.duplicates) if job.settings.duplicates.near is not None else ""

    def done_in(directory: Path) -> Cleaned | None:
        done = counts_of(job, directory)
        return done if done is not None and done.scheme == scheme else None

    if done_in(job.directory) is None:
        remove_unless(job.directory, lambda directory: done_in(directory) is not None)
    done = done_in(job.directory)
    if done is not None:
        return done
    with full_disk_told(job.directory.parent, f"{job.file} was cleaned"), whole_directory(job.directory) as partial:
        with _Cleaner(job, CleanedFile(partial)) as cleaner:
            counts = cleaner.run(scheme)
        replace_file(partial / _COUNTS_NAME, counts.model_dump_json().encode("utf-8"))
    return counts


def counts_of(job: CleanJob, directory: Path | None = None) -> Cleaned | None:
    """What became of the documents of the very file of a job; None where it is not done.

    Args:
        job: what was to be done.
        directory: where the result lies; default: where the job puts it.
    """
    counts = CleanedFile(directory or job.directory).counts()
    return counts if counts is not None and (counts.source, counts.file) == (job.source, job.file) else None


class _Cleaner:
    """One pass over one file."""

    def __init__(self, job: CleanJob, result: CleanedFile) -> None:
        settings = job.settings
        self._job = job
        self._result = result
        self._source = settings.sources[job.source]
        self._broken = Broken(settings.broken)
        self._reason_against: Callable[[str], str | None] = quality(self._source)
        self._evaluation = evaluation_texts(settings.contamination) if settings.contamination else None
        self._samples = DroppedSamples(settings.dropped_samples, settings.seed)
        self._dropped: Counter[str] = Counter()
        self._contamination = ContaminationReport.of(self._evaluation) if self._evaluation else None
        self._kept = self._kept_characters = self._kept_bytes = 0

    def __enter__(self) -> _Cleaner:
        with ExitStack() as stack:
            documents, held_out = (
                stack.enter_context(path.open("wb")) for path in (self._result.documents, self._result.held_out)
            )
            self._documents = stack.enter_context(zstandard.ZstdCompressor(_ZSTD_LEVEL).stream_writer(documents))
            # no name and no time inside: the same text gives the same bytes
            self._held_out = stack.enter_context(gzip.GzipFile("", "wb", 6, held_out, mtime=0))
            self._signed, self._signed_held_out = (
                (stack.enter_context(signed.digests.open("wb")), stack.enter_context(signed.signatures.open("wb")))
                for signed in (self._result.signed, self._result.signed_held_out)
            )
            self._files = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def run(self, scheme: str) -> Cleaned:
        """Go through the file."""
        job, number = self._job, 0
        documents = read_source(job.file, self._source, self._broken, seed=job.settings.seed)
        for number, document in enumerate(documents, start=1):
            self._take(document, number)
            if number % _COUNT_EVERY == 0:
                count_done(_COUNT_EVERY)
        count_done(number % _COUNT_EVERY)
        for reason, places in self._broken.places.items():
            for place, problem in enumerate(places):
                self._samples.add(reason, job.source, job.file, place, problem=problem)
        self._samples.write_file(self._result.dropped)
        if self._contamination is not None:
            replace_file(self._result.contamination, _line(self._contamination.as_json()))
        counts = Cleaned(
            source=job.source,
            file=job.file,
            scheme=scheme,
            read=number + self._broken.counts.total(),
            kept=self._kept,
            kept_characters=self._kept_characters,
            kept_bytes=self._kept_bytes,
            dropped=dict(sorted((self._dropped + Counter[str](self._broken.counts)).items())),
        )
        assert counts.read == counts.kept + sum(counts.dropped.values()), "every document is somewhere"
        return counts

    def _take(self, document: Document, place: int) -> None:
        reason = self._reason_against(document.text)
        hits: list[Hit] = []
        if reason is None and document.split == "heldout":
            self._dropped[HELD_OUT] += 1
            self._held_out.write(_line({"id": document.id, "text": document.text, "split": "heldout"}))
            self._sign(document, *self._signed_held_out)
            return
        if reason is None and self._evaluation is not None and self._contamination is not None:
            hits = self._evaluation.hits(document.text)
            self._contamination.count(document.id, hits)
            if hits and self._drops_contaminated:
                reason = CONTAMINATED
        if reason is None:
            self._keep(document)
        else:
            self._dropped[reason] += 1
            job, more = self._job, {"hits": [hit._asdict() for hit in hits]} if hits else {}
            self._samples.add(reason, job.source, job.file, place, id=document.id, **more, text=document.text)

    @property
    def _drops_contaminated(self) -> bool:
        contamination = self._job.settings.contamination
        return contamination is not None and contamination.action == "drop"

    def _keep(self, document: Document) -> None:
        self._documents.write(_line({"id": document.id, "text": document.text}))
        self._sign(document, *self._signed)
        self._kept += 1
        self._kept_characters += len(document.text)
        self._kept_bytes += len(document.text.encode("utf-8"))

    def _sign(self, document: Document, digests: BinaryIO, signatures: BinaryIO) -> None:
        duplicates = self._job.settings.duplicates
        digests.write(text_digest(document.text))
        if duplicates.near is not None:
            signatures.write(signature(document.text, duplicates).astype("<u4").tobytes())


@cache
def evaluation_texts(settings: ContaminationSettings) -> EvaluationTexts:
    """The evaluation sets, indexed once in a process.

    Raises:
        InputFileError: there are none, or one is damaged.
    """
    return EvaluationTexts.read(settings.files, settings)


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")
