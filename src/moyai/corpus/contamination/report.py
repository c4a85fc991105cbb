"""Contamination: how much of each evaluation set stands in a corpus, with samples to look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from moyai.corpus.contamination.evaluation_texts import EvaluationTexts, Hit
from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.read import input_files, read_source
from moyai.progress import Progress, SilentProgress
from moyai.recipe.corpus_settings import ContaminationSettings, CorpusSource

_NUM_SAMPLES = 10


class Sample(NamedTuple):
    """A hit to look at."""

    document: str
    """The document's id."""
    item: int
    run: str


@dataclass
class SetContamination:
    """What a corpus has of one evaluation set."""

    items: int
    searchable: int
    """Items with a run that would be a hit."""
    found: set[int] = field(default_factory=set)
    """Items of which a run stands in any document, from 1."""
    documents: int = 0
    """Documents that have a run of any item."""
    samples: list[Sample] = field(default_factory=list)
    """The first few hits in corpus order, each of another document."""

    @property
    def share(self) -> float:
        """Items found, of those that can be found."""
        return len(self.found) / self.searchable if self.searchable else 0.0


@dataclass
class ContaminationReport:
    """What a corpus has of evaluation sets."""

    sets: dict[str, SetContamination]
    left_out: tuple[str, ...]
    """Files beside the sets that hold no items, by their ending."""
    documents: int = 0
    """Documents that were looked through."""
    contaminated: int = 0
    """Documents with a hit."""

    @classmethod
    def of(cls, evaluation: EvaluationTexts) -> Self:
        """A report on no document yet."""
        sets = {name: SetContamination(size.items, size.searchable) for name, size in evaluation.sets.items()}
        return cls(sets, tuple(map(str, evaluation.left_out)))

    def count(self, document: str, hits: Iterable[Hit]) -> None:
        """Count a document, by its id, with all its hits."""
        self.documents += 1
        first: dict[str, Hit] = {}
        for hit in hits:
            self.sets[hit.set].found.add(hit.item)
            first.setdefault(hit.set, hit)
        self.contaminated += bool(first)
        for name, hit in first.items():
            found = self.sets[name]
            found.documents += 1
            if len(found.samples) < _NUM_SAMPLES:
                found.samples.append(Sample(document, hit.item, hit.run))

    def add(self, later: Self) -> None:
        """Count what stands in a report on later documents and the same sets."""
        self.documents += later.documents
        self.contaminated += later.contaminated
        for name, found in later.sets.items():
            mine = self.sets[name]
            mine.found |= found.found
            mine.documents += found.documents
            mine.samples = (mine.samples + found.samples)[:_NUM_SAMPLES]

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads; `share` is there for people."""
        return {
            "documents": self.documents,
            "contaminated": self.contaminated,
            "left_out": list(self.left_out),
            "sets": {
                name: {
                    "items": found.items,
                    "searchable": found.searchable,
                    "share": round(found.share, 6),
                    "documents": found.documents,
                    "found": sorted(found.found),
                    "samples": [sample._asdict() for sample in found.samples],
                }
                for name, found in self.sets.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `as_json` wrote."""
        sets = {
            name: SetContamination(
                items=found["items"],
                searchable=found["searchable"],
                found=set(found["found"]),
                documents=found["documents"],
                samples=[Sample(**sample) for sample in found["samples"]],
            )
            for name, found in value["sets"].items()
        }
        return cls(sets, tuple(value["left_out"]), value["documents"], value["contaminated"])


def check(
    sources: Iterable[CorpusSource], settings: ContaminationSettings, progress: Progress | None = None
) -> ContaminationReport:
    """Look for evaluation texts in all documents of `sources`.

    Raises:
        InputFileError: a file of a source or of an evaluation set is missing or damaged.
        SourceError: the hub does not give a data set.
        UserError: a library that a file needs is not installed.
    """
    evaluation = EvaluationTexts.read(settings.files, settings)
    report = ContaminationReport.of(evaluation)
    files = [(source, file) for source in sources for file in input_files(source)]
    with (progress or SilentProgress()).bar("contamination", total=len(files), unit="files") as bar:
        for source, file in files:
            for document in read_source(file, source, Broken("stop")):
                report.count(document.id, evaluation.hits(document.text))
            bar.advance(1, documents=report.documents, contaminated=report.contaminated)
    return report
