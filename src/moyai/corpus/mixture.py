"""Mixing sources: which document comes next, so that every source has its share of the tokens all the way."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class SourceUse:
    """How much of a source went in."""

    num_documents: int
    """Documents the source has."""
    tokens_per_epoch: int
    documents: int = 0
    tokens: int = 0

    @property
    def epochs(self) -> float:
        """How often the source was gone through, in tokens."""
        return self.tokens / self.tokens_per_epoch


@dataclass
class Mixture:
    """An endless stream of tokenised documents in given shares.

    The next document is always from the source that lags furthest behind its share of the tokens so far; each
    source is shuffled anew every epoch.  Same sources, shares and seed: same stream.
    """

    sources: Mapping[str, Sequence[Sequence[int]]]
    shares: Mapping[str, float]
    seed: int
    use: dict[str, SourceUse] = field(init=False)

    def __post_init__(self) -> None:
        self.use = {
            name: SourceUse(len(documents), sum(len(ids) for ids in documents))
            for name, documents in self.sources.items()
        }

    def documents(self) -> Iterator[tuple[str, Sequence[int]]]:
        """Name of the source and ids of the next document, for ever; `use` is counted by `take`."""
        total = sum(self.shares.values())
        streams = {name: self._shuffled(name) for name in self.sources}
        given = dict.fromkeys(self.sources, 0)
        while True:
            name = min(self.sources, key=lambda name: (given[name] * total / self.shares[name], name))
            ids = next(streams[name])
            given[name] += len(ids)
            yield name, ids

    def take(self, name: str, num_tokens: int, *, starts_document: bool) -> None:
        """Count tokens of a source as used."""
        self.use[name].tokens += num_tokens
        self.use[name].documents += starts_document

    def _shuffled(self, name: str) -> Iterator[Sequence[int]]:
        documents, epoch = self.sources[name], 0
        while True:
            order = list(range(len(documents)))
            random.Random(f"{self.seed}/{name}/{epoch}").shuffle(order)
            for index in order:
                yield documents[index]
            epoch += 1
