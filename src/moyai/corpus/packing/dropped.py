"""Samples of what was dropped, so that a person can look at them: drawn by a hash, the same whatever the order."""

from __future__ import annotations

import hashlib
import json
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moyai.checkpoint.disk import replace_file

_MAX_CHARACTERS = 5_000


@dataclass(frozen=True, order=True)
class _Sample:
    key: str
    row: Mapping[str, Any] = field(compare=False)


class DroppedSamples:
    """Of each reason the `limit` documents with the smallest hashes of seed, file and place.

    >>> samples = DroppedSamples(limit=1, seed=0)
    >>> for place in range(100):
    ...     samples.add("too short", "ja", "a.jsonl", place, id=str(place), text="舟")
    >>> len(samples.rows("too short"))
    1
    """

    def __init__(self, limit: int, seed: int) -> None:
        self._limit, self._seed = limit, seed
        self._kept: dict[str, list[_Sample]] = defaultdict(list)

    def add(self, reason: str, source: str, file: str, place: int, *, text: str = "", **more: Any) -> None:
        """A document that was dropped: the `place`-th of `file`, and what else is known of it."""
        key = hashlib.sha256(f"{self._seed}/{reason}/{source}/{file}/{place}".encode()).hexdigest()
        kept = self._kept[reason]
        if len(kept) < self._limit or key < kept[-1].key:
            row = {"reason": reason, "source": source, "file": file, "place": place, **more}
            if text:
                row |= {"characters": len(text), "text": text[:_MAX_CHARACTERS]}
            self._put(reason, _Sample(key, row))

    def add_file(self, path: Path) -> None:
        """The samples that `write_file` has written of a part of the corpus."""
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            key, row = json.loads(line)
            self._put(row["reason"], _Sample(key, row))

    def write_file(self, path: Path) -> None:
        """All samples with their hashes, for `add_file`."""
        found = [[sample.key, sample.row] for reason in sorted(self._kept) for sample in self._kept[reason]]
        replace_file(path, _lines(found))

    def write_reasons(self, directory: Path) -> None:
        """One file `REASON.jsonl` for each reason, in the order of sources, files and places."""
        directory.mkdir(exist_ok=True)
        for reason in sorted(self._kept):
            replace_file(directory / f"{reason.replace(' ', '-')}.jsonl", _lines(self.rows(reason)))

    def rows(self, reason: str) -> list[Mapping[str, Any]]:
        """The samples of a reason, in the order of sources, files and places."""
        return sorted(
            (sample.row for sample in self._kept[reason]), key=lambda row: (row["source"], row["file"], row["place"])
        )

    def _put(self, reason: str, sample: _Sample) -> None:
        kept = self._kept[reason]
        insort(kept, sample)
        del kept[self._limit :]


def _lines(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
