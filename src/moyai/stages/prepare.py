"""prepare: read sources, drop what should not be learnt, and pack the rest into token shards."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from moyai.checkpoint.disk import PARTIAL, finish_file, full_disk_told, replace_file
from moyai.corpus.contamination.evaluation_files import EvaluationFiles
from moyai.corpus.contamination.report import ContaminationReport
from moyai.corpus.packing.clean import Cleaned, clean_file, evaluation_texts
from moyai.corpus.packing.dropped import DroppedSamples
from moyai.corpus.packing.indexed_file import INDEX_SUFFIX, TOKENS_SUFFIX
from moyai.corpus.packing.packed import Manifest, PackedBy, PackedCorpus, Shard, SourceCounts
from moyai.corpus.packing.parts import PackedPart, cleaned_file, pack_part, part_samples
from moyai.corpus.packing.preparation import Preparation
from moyai.corpus.packing.processes import num_cores, run_each
from moyai.errors import UserError
from moyai.recipe.corpus_settings import PrepareSettings
from moyai.recipe.record import file_sha256
from moyai.recipe.sources import corpus_file
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.tokenizer.text import TextTokenizer

REVISION = 2
HELD_OUT_DIR, DROPPED_DIR = "heldout", "dropped"
CONTAMINATION_NAME = "contamination.json"

# A process more than this one takes a second to start, in which so much can be cleaned.
_BYTES_PER_WORKER = 10_000_000


def outside(settings: PrepareSettings, cache_dir: Path) -> dict[str, str]:
    """Hashes of all files that are read."""
    hashes = file_hashes(name for source in settings.sources.values() for name in source.files)
    if settings.contamination is not None:
        sets = EvaluationFiles.find(settings.contamination.files).sets
        hashes |= {str(path): file_sha256(path) for path in sets.values()}
    return hashes


def run(settings: PrepareSettings, context: StageContext) -> dict[str, Any]:
    """Write the packed corpus: shards and manifest, held-out documents, samples of what was dropped.

    Sources are gone through in the order of their names and files in that of theirs, so the result does not depend on
    the number of processes or on how often it was begun.
    """
    preparation = preparation_in(settings, context.resume_dir, tokenizer_dir=next(iter(context.inputs.values())))
    preparation.remove_left_over()
    cleaned = _clean(preparation, context)
    with full_disk_told(context.out_dir, "duplicates were looked for"):
        preparation.find_duplicates(context.progress)
    parts = _pack(preparation, context)
    with full_disk_told(context.out_dir, "the packed corpus was put together"):
        return _Assembly(settings, cleaned, preparation.cleaned_dir, parts, context).run()


def preparation_in(settings: PrepareSettings, resume_dir: Path, *, tokenizer_dir: Path) -> Preparation:
    """The work of the stage, in pieces, and where it lies while it is not finished.

    Which files are read is settled here, for every process that is given the work.

    Raises:
        InputFileError: a file is not there.
        SourceError: the hub does not say which commit a data set is at.
    """
    resume_dir.mkdir(exist_ok=True)
    preparation = Preparation(settings, resume_dir, tokenizer_dir)
    preparation.files()
    return preparation


def _clean(preparation: Preparation, context: StageContext) -> list[Cleaned]:
    """Every input file cleaned, as many at a time as there are cores; in corpus order."""
    jobs = preparation.clean_jobs()
    sizes = [_size(job.file) for job in jobs]
    # how much comes from the hub is not known; it is worth a process
    worth = sum(_BYTES_PER_WORKER if job.file.startswith("hub:") else _size(job.file) for job in jobs)
    workers = max(1, min(num_cores(), len(jobs), worth // _BYTES_PER_WORKER))
    with context.progress.bar("clean", total=sum(sizes), unit="bytes") as bar:
        for number, _ in run_each(
            clean_file, jobs, workers=workers, look=lambda documents: bar.advance(0, documents=documents)
        ):
            bar.advance(sizes[number])
    return preparation.cleaned()


def _size(file: str) -> int:
    return 0 if file.startswith("hub:") else corpus_file(file).stat().st_size


def _pack(preparation: Preparation, context: StageContext) -> list[tuple[Path, str, PackedPart]]:
    """Every part packed, one after the other: the tokenizer takes all cores by itself.

    Returns:
        Directory, source and counts of each part, in corpus order.
    """
    characters = sum(counts.kept_characters for counts in preparation.cleaned())
    with context.progress.bar("pack", total=characters, unit="characters") as bar:
        return [(job.directory, job.source, pack_part(job, bar.advance)) for job in preparation.pack_jobs()]


class _Assembly:
    """Puts the artifact together from what the parts have left; each step may be done again."""

    def __init__(
        self,
        settings: PrepareSettings,
        cleaned: Sequence[Cleaned],
        cleaned_dir: Path,
        parts: Sequence[tuple[Path, str, PackedPart]],
        context: StageContext,
    ) -> None:
        self._settings, self._context = settings, context
        self._out_dir = context.out_dir
        self._cleaned = cleaned
        self._files = [cleaned_file(cleaned_dir, number) for number in range(len(cleaned))]
        self._parts = parts

    def run(self) -> dict[str, Any]:
        """Everything; the manifest comes after the shards, and is checked against them."""
        self._write_samples()
        self._write_held_out()
        sources = {name: self._source(name) for name in sorted(self._settings.sources)}
        packed_by = PackedBy.of(TextTokenizer(next(iter(self._context.inputs.values()))))
        Manifest(tokenizer=packed_by, sources=sources).write(self._out_dir)
        written = PackedCorpus.open(self._out_dir).sources
        assert {name: len(source) for name, source in written.items()} == {n: c.documents for n, c in sources.items()}
        dropped = sum((Counter(counts.dropped) for counts in sources.values()), Counter[str]())
        if not any(counts.documents for counts in sources.values()):
            reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
            raise UserError(f"nothing is left to pack: {reasons or 'the sources have no document'}")
        return self._results(sources, packed_by, dropped)

    def _source(self, name: str) -> SourceCounts:
        parts = [(directory, counts) for directory, source, counts in self._parts if source == name]
        of_files = [counts for counts in self._cleaned if counts.source == name]
        dropped = sum((Counter(counts.dropped) for counts in of_files), Counter[str]())
        dropped.update(sum((Counter(counts.dropped) for _, counts in parts), Counter[str]()))
        made = SourceCounts(
            read=sum(counts.read for counts in of_files),
            documents=sum(counts.documents for _, counts in parts),
            tokens=sum(counts.tokens for _, counts in parts),
            characters=sum(counts.characters for _, counts in parts),
            bytes=sum(counts.bytes for _, counts in parts),
            dropped=dict(sorted(dropped.items())),
            shards=tuple(self._move_shards(name, parts)),
        )
        assert made.read == made.documents + sum(made.dropped.values()), "every document is somewhere"
        return made

    def _move_shards(self, name: str, parts: Sequence[tuple[Path, PackedPart]]) -> Iterable[Shard]:
        """Number a source's shards through; one that a killed run has moved already is in its place."""
        (self._out_dir / name).mkdir(exist_ok=True)
        shards = [(directory, shard) for directory, counts in parts for shard in counts.shards]
        for number, (directory, shard) in enumerate(shards):
            moved = shard.model_copy(update={"name": f"{name}/{number:05}"})
            for suffix in (TOKENS_SUFFIX, INDEX_SUFFIX):
                made = directory / f"{shard.name}{suffix}"
                if made.exists():
                    finish_file(made, self._out_dir / f"{moved.name}{suffix}")
            yield moved

    def _write_samples(self) -> None:
        samples = DroppedSamples(self._settings.dropped_samples, self._settings.seed)
        for path in [*(file.dropped for file in self._files), *(part_samples(part) for part, _, _ in self._parts)]:
            samples.add_file(path)
        samples.write_reasons(self._out_dir / DROPPED_DIR)

    def _write_held_out(self) -> None:
        """Each source's held-out documents in one file: gzip files one after the other are a gzip file."""
        directory = self._out_dir / HELD_OUT_DIR
        directory.mkdir(exist_ok=True)
        for name in sorted(self._settings.sources):
            of_source = [
                file.held_out for file, counts in zip(self._files, self._cleaned, strict=True) if counts.source == name
            ]
            _join(of_source, directory / f"{name}.jsonl.gz")

    def _contamination(self) -> dict[str, Any] | None:
        """What the corpus has of evaluation sets, all files together: in full in a file, and in numbers for the record."""
        settings = self._settings.contamination
        if settings is None:
            return None
        whole = ContaminationReport.of(evaluation_texts(settings))
        for file in self._files:
            whole.add(ContaminationReport.from_json(json.loads(file.contamination.read_bytes())))
        told = {"action": settings.action, "characters": settings.characters, "words": settings.words}
        content = json.dumps(told | whole.as_json(), ensure_ascii=False, indent=1)
        replace_file(self._out_dir / CONTAMINATION_NAME, content.encode("utf-8"))
        sets = {
            name: {
                "items": found.items,
                "searchable": found.searchable,
                "found": len(found.found),
                "documents": found.documents,
            }
            for name, found in whole.sets.items()
        }
        return {**told, "documents": whole.documents, "contaminated": whole.contaminated, "sets": sets}

    def _results(self, sources: dict[str, SourceCounts], packed_by: PackedBy, dropped: Counter[str]) -> dict[str, Any]:
        def total(key: str) -> int:
            return sum(getattr(counts, key) for counts in sources.values())

        return {
            "num_read": total("read"),
            "num_documents": total("documents"),
            "num_tokens": total("tokens"),
            "num_characters": total("characters"),
            "num_text_bytes": total("bytes"),
            "num_shards": sum(len(counts.shards) for counts in sources.values()),
            "num_shard_bytes": sum(shard.bin_bytes for counts in sources.values() for shard in counts.shards),
            "dropped": dict(sorted(dropped.items())),
            "sources": {name: counts.model_dump(exclude={"shards"}) for name, counts in sources.items()},
            "contamination": self._contamination(),
            "tokenizer_sha256": packed_by.sha256,
        }


def _join(files: Sequence[Path], path: Path) -> None:
    """One file after the other into one."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as out:
        for file in files:
            with file.open("rb") as part:
                shutil.copyfileobj(part, out, 1 << 20)
    finish_file(partial, path)
