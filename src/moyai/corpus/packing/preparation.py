"""The preparation of a corpus in pieces of work that any number of processes or machines can share.

Three phases follow one another: every file is cleaned, duplicates are found among all of them, every part is packed.
A piece of work is a job that needs nothing but itself and a directory that all can see; it is done once, whoever does
it, and doing it again changes nothing.  Files are known by their numbers in a list that is made once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from moyai.checkpoint.disk import replace_file
from moyai.corpus.duplicates.find import find_duplicates
from moyai.corpus.packing.clean import Cleaned, CleanJob, counts_of
from moyai.corpus.packing.packed import PackedBy
from moyai.corpus.packing.parts import PackJob, SavedDuplicates, cleaned_file, plan_parts
from moyai.corpus.packing.whole_directory import partial_directory, remove_left_over, whole_directory
from moyai.corpus.reading.read import input_files
from moyai.errors import InputFileError, UserError
from moyai.progress import Progress
from moyai.recipe.corpus_settings import PrepareSettings
from moyai.recipe.sources import parse_hub_corpus
from moyai.tokenizer.text import TextTokenizer

_FILES_NAME = "files.json"


@dataclass(frozen=True)
class Preparation:
    """What is to be prepared, and the directory in which the pieces are left."""

    settings: PrepareSettings
    directory: Path
    tokenizer_dir: Path

    @property
    def cleaned_dir(self) -> Path:
        """Where cleaned files lie."""
        return self.directory / "cleaned"

    @property
    def _packed_dir(self) -> Path:
        return self.directory / "packed"

    @property
    def _duplicates(self) -> SavedDuplicates:
        return SavedDuplicates(self.directory / "duplicates")

    def remove_left_over(self) -> None:
        """Remove what killed processes of this machine have left half done; this one must not have begun."""
        for directory in (self.directory, self.cleaned_dir, self._packed_dir):
            remove_left_over(directory)

    def files(self) -> list[tuple[str, str]]:
        """Source and name of every input file, in corpus order: what there was when it was first asked for.

        Raises:
            InputFileError: a file is not there.
            SourceError: the hub does not say which commit a data set is at.
        """
        directory = self.directory / "files"
        if not directory.exists():
            sources = self.settings.sources
            found = [(name, _pinned(file)) for name in sorted(sources) for file in input_files(sources[name])]
            with whole_directory(directory) as partial:
                replace_file(partial / _FILES_NAME, json.dumps(found, ensure_ascii=False).encode("utf-8"))
        return [(name, file) for name, file in json.loads((directory / _FILES_NAME).read_bytes())]

    def clean_jobs(self) -> list[CleanJob]:
        """The first phase: one job a file, in corpus order.

        Raises:
            InputFileError: a file is not there.
            SourceError: the hub does not say which commit a data set is at.
        """
        self.cleaned_dir.mkdir(exist_ok=True)
        return [
            CleanJob(name, file, self.settings, cleaned_file(self.cleaned_dir, number).directory)
            for number, (name, file) in enumerate(self.files())
        ]

    def cleaned(self) -> list[Cleaned]:
        """What became of every file, in corpus order.

        Raises:
            UserError: some are not cleaned yet.
        """
        jobs = self.clean_jobs()
        counts = [counts_of(job) for job in jobs]
        missing = [job.file for job, count in zip(jobs, counts, strict=True) if count is None]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(jobs)} files are not cleaned yet, the first is {missing[0]}",
                hint="do the first phase again; what is done is not done twice",
            )
        return [count for count in counts if count is not None]

    def find_duplicates(self, progress: Progress) -> None:
        """The second phase, one job: compare what is left of all files, with each other and with what is held out.

        Held-out documents come first, so that what is like one of them goes.

        Raises:
            InputFileError: what was kept of a cleaned file is damaged.
            UserError: some are not cleaned yet.
        """
        if self._duplicates.directory.exists():
            return
        cleaned = self.cleaned()
        files = [cleaned_file(self.cleaned_dir, number) for number in range(len(cleaned))]
        signed = [file.signed_held_out for file in files] + [file.signed for file in files]
        with partial_directory(self.directory / "bands") as scratch:
            found = find_duplicates(signed, self.settings.duplicates, scratch, progress)
        if found.starts[len(files) :] != _starts(cleaned):
            raise InputFileError(
                f"{self.cleaned_dir} has other numbers of digests than of documents", hint="remove it; it is made again"
            )
        self._duplicates.save(found)

    def pack_jobs(self) -> list[PackJob]:
        """The third phase: one job a part, in corpus order.

        Raises:
            UserError: an earlier phase is not done yet.
        """
        cleaned = self.cleaned()
        if not self._duplicates.directory.exists():
            raise UserError("duplicates are not found yet", hint="do the second phase first")
        self._packed_dir.mkdir(exist_ok=True)
        packed_by = PackedBy.of(TextTokenizer(self.tokenizer_dir))
        starts = _starts(cleaned)
        return [
            PackJob(
                source=cleaned[files[0]].source,
                files=files,
                cleaned=self.cleaned_dir,
                duplicates=self._duplicates.directory,
                starts=starts,
                tokenizer_dir=self.tokenizer_dir,
                packed_by=packed_by,
                shard_bytes=self.settings.shard_bytes,
                dropped_samples=self.settings.dropped_samples,
                seed=self.settings.seed,
                directory=self._packed_dir / f"{number:06}",
            )
            for number, files in enumerate(plan_parts(cleaned, self.settings.shard_bytes))
        ]


def _starts(cleaned: Sequence[Cleaned]) -> tuple[int, ...]:
    """The number of the first kept document of each file, after all that are held out, and the number of all."""
    return tuple(accumulate((counts.kept for counts in cleaned), initial=sum(counts.held_out for counts in cleaned)))


def _pinned(file: str) -> str:
    """A data set on the hub at the very commit that the stage's identity names."""
    if not file.startswith("hub:"):
        return file
    from moyai.corpus.reading.hub import hub_commit

    source = parse_hub_corpus(file)
    config = f"/{source.config}" if source.config else ""
    return f"hub:{source.repo}@{hub_commit(source)}{config}:{source.split}"
