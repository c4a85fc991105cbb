"""Evaluation texts that must not stand in a corpus, and what a document shares with them.

A hit is a run that a document and a text of an evaluation item have in common, letters and digits being compared as
`fold` spells them, without what is between them: so many characters of which at least half are Japanese, or so many
words of which none is.  Two more rules keep it honest:

- A text shorter than that counts where it stands as a whole, if it has at least half as many characters or words, is the
  longest of its item, and has hiragana where it is Japanese.  So a short question counts, and a name or a label does not.
- A run that stands in more than ten items of its set is the set's template, and says nothing about an item.

Source: 13 words without case and punctuation are what was searched for GPT-3 (arXiv 2005.14165, appendix C).  The length
for Japanese, the half and the ten are our choice; docs/corpus.md says what they were chosen by.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from moyai.corpus.contamination.evaluation_files import EvaluationFiles, read_items
from moyai.corpus.contamination.searched_runs import FoundRun, SearchedRuns, SearchIndex, SetTexts
from moyai.corpus.folding import fold, folded_text
from moyai.errors import InputFileError
from moyai.recipe.corpus_settings import ContaminationSettings


class Hit(NamedTuple):
    """An evaluation item that a document has something of."""

    set: str
    item: int
    """Which of its set, from 1."""
    run: str
    """The longest run that the document shares with it, as it stands in the document."""


class SetSize(NamedTuple):
    """How much of an evaluation set can be looked for."""

    items: int
    searchable: int
    """Items with a run that would be a hit."""


@dataclass(frozen=True)
class EvaluationTexts:
    """The texts of evaluation sets, indexed."""

    sets: dict[str, SetSize]
    left_out: tuple[Path, ...]
    """Files that were in the directories and hold no items, by their ending."""
    _indexes: tuple[SearchIndex, ...]

    @classmethod
    def read(cls, files: Iterable[str], settings: ContaminationSettings) -> Self:
        """Read and index evaluation sets: files, globs, directories or starter:NAME.

        Raises:
            InputFileError: a name stands for nothing, a file is damaged, or none of all has a run that would be a hit.
            UserError: a library that a file needs is not installed.
        """
        found = EvaluationFiles.find(files)
        kinds = (SearchedRuns(settings.characters, characters=True), SearchedRuns(settings.words, characters=False))
        sets = {name: _add_set(name, path, kinds) for name, path in found.sets.items()}
        if not any(size.searchable for size in sets.values()):
            raise InputFileError(
                f"the evaluation sets {', '.join(sets) or 'given'} have no text that is long enough to be looked for",
                hint=f"that is {kinds[0].seed} characters of Japanese or {kinds[1].seed} words; see contamination.files",
            )
        indexes = (kind.index() for kind in kinds)
        return cls(sets, found.left_out, tuple(index for index in indexes if index is not None))

    def hits(self, text: str) -> list[Hit]:
        """The evaluation items that `text` has something of, each once, in the order of sets and items."""
        folded = fold(text)
        runs = [run for index in self._indexes for run in index.found(folded)]
        if not runs:
            return []
        longest: dict[tuple[str, int], FoundRun] = {}
        for run in sorted(runs, key=lambda run: (run.start - run.stop, run.start)):
            longest.setdefault((run.set, run.item), run)
        spelled = folded_text(text)
        return [Hit(run.set, run.item, spelled[run.start : run.stop]) for _, run in sorted(longest.items())]


def _add_set(name: str, path: Path, kinds: Iterable[SearchedRuns]) -> SetSize:
    num_items, texts, items = 0, [], []
    for num_items, item in enumerate(read_items(path), start=1):
        distinct = [unicodedata.normalize("NFKC", text) for text in dict.fromkeys(item)]
        texts += distinct
        items += [num_items] * len(distinct)
    # all at once: a call for each of a hundred thousand choices would take longer than the work
    stops = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64)
    joined = SetTexts(fold("".join(f"{text}\n" for text in texts)), stops, np.array(items, np.int64))
    searchable = [kind.add(name, joined) for kind in kinds]
    return SetSize(num_items, len(np.unique(np.concatenate(searchable))))
