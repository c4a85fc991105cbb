"""Mixing sources: which document comes next, so that every source has its part of the tokens all the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from numpy.typing import NDArray

from moyai.corpus.mixing.shuffle import Permutation
from moyai.corpus.packing.packed import PackedSource
from moyai.errors import UserError

Documents = PackedSource | Sequence[Sequence[int] | NDArray[Any]]
"""Token ids of every document of a source: in memory, or mapped from shards."""


def document_length(documents: Documents, number: int) -> int:
    """How many tokens a document has; of a mapped one nothing is read."""
    return documents.length(number) if isinstance(documents, PackedSource) else len(documents[number])


def document_part(documents: Documents, number: int, start: int, stop: int) -> Sequence[int] | NDArray[Any]:
    """A document's tokens from `start` up to `stop`; of a mapped one nothing else is read.

    Raises:
        InputFileError: a mapped document is damaged there.
    """
    return documents.part(number, start, stop) if isinstance(documents, PackedSource) else documents[number][start:stop]


@dataclass
class SourceUse:
    """How much of a source went in."""

    num_documents: int
    """Documents the source has."""
    tokens_per_epoch: int
    documents: int = 0
    """Begun so far, each epoch counted anew."""
    document_tokens: int = 0
    """Tokens of those documents, taken or still to come."""
    tokens: int = 0
    """Taken so far."""

    @classmethod
    def none_of(cls, name: str, documents: Documents) -> Self:
        """Nothing yet of `documents`.

        Raises:
            UserError: there is no text in them.
        """
        tokens = documents.num_tokens if isinstance(documents, PackedSource) else sum(map(len, documents))
        # each document has at least a mark in front of it and one behind it
        if tokens <= len(documents):
            raise UserError(f"{name} has no training document", hint='give rows "split": "train", or more documents')
        return cls(len(documents), tokens)

    @property
    def epochs(self) -> float:
        """How often the source was gone through, in tokens."""
        return self.tokens / self.tokens_per_epoch


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens of one document."""

    source: str
    document: int
    """Its number in the source."""
    start: int
    """Of the first token, in the document."""
    length: int
    documents: Documents = field(repr=False)
    """Those of the source; ids are read when they are asked for."""

    @property
    def ids(self) -> Sequence[int] | NDArray[Any]:
        """The tokens."""
        return document_part(self.documents, self.document, self.start, self.start + self.length)

    @property
    def following(self) -> int | None:
        """The document's token after them; None at its end."""
        end = self.start + self.length
        after = document_part(self.documents, self.document, end, end + 1)
        return int(after[0]) if len(after) else None


@dataclass
class Mixture:
    """An endless stream of tokenised documents, of each source in proportion to its target.

    The next document is always from the source that lags furthest behind its target so far; each source is shuffled
    anew every epoch.  Same sources, targets and seed: same stream.  Nothing is kept but a few numbers a source, which
    `state` gives as JSON values at any token, so memory does not grow with the corpus.

    Raises:
        UserError: a source has no text.
    """

    sources: Mapping[str, Documents]
    targets: Mapping[str, float]
    """Tokens, or shares, of each source; one with 0 is never used."""
    seed: int
    use: dict[str, SourceUse] = field(init=False)

    def __post_init__(self) -> None:
        self.use = {name: SourceUse.none_of(name, source) for name, source in self.sources.items()}
        # In the order of their names, for that of a mapping in a recipe means nothing.
        drawn = sorted(name for name in self.sources if self.targets[name] > 0)
        assert drawn, "a mixture has a source"
        whole = sum(self.targets[name] for name in drawn)
        self._parts = {name: self.targets[name] / whole for name in drawn}
        self._orders: dict[str, tuple[int, Permutation]] = {}
        self._open: str | None = None
        self._start = 0

    def piece(self, most_tokens: int) -> Piece:
        """The next tokens: at most so many, and all of one document.

        A last token that would stand alone is left out: the piece before it has it as `following`, and it has none.
        """
        assert most_tokens > 0
        if self._open is None:
            self._open_document()
        name, start = self._open, self._start
        assert name is not None
        use = self.use[name]
        number = self._place(name, use.documents - 1)
        documents = self.sources[name]
        whole = document_length(documents, number)
        end = min(start + most_tokens, whole)
        use.tokens += end - start
        self._open, self._start = (name, end) if end < whole - 1 else (None, 0)
        return Piece(name, number, start, end - start, documents)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as JSON values, for `resumed`."""
        counted = {name: dict(vars(use)) for name, use in self.use.items()}
        return {
            "seed": self.seed,
            "targets": dict(self.targets),
            "use": counted,
            "open": self._open,
            "start": self._start,
        }

    @classmethod
    def resumed(cls, sources: Mapping[str, Documents], state: Mapping[str, Any]) -> Self:
        """The mixture that goes on where another one gave its `state`.

        Raises:
            UserError: the sources are not those of the state.
        """
        mixture = cls(sources, state["targets"], state["seed"])
        for name, use in mixture.use.items():
            then = SourceUse(**state["use"][name])
            if (use.num_documents, use.tokens_per_epoch) != (then.num_documents, then.tokens_per_epoch):
                raise UserError(
                    f"{name} has {use.num_documents} documents of {use.tokens_per_epoch} tokens, and had"
                    f" {then.num_documents} of {then.tokens_per_epoch} when the mixture was left",
                    hint="go on with the same corpus, or begin anew",
                )
            mixture.use[name] = then
        mixture._open, mixture._start = state["open"], state["start"]
        return mixture

    def _open_document(self) -> None:
        """Begin the next document; one of a single token predicts nothing and is passed over."""
        while self._open is None:
            name = self._furthest_behind()
            use = self.use[name]
            length = document_length(self.sources[name], self._place(name, use.documents))
            use.documents += 1
            use.document_tokens += length
            self._open = name if length > 1 else None

    def _furthest_behind(self) -> str:
        """The source that lacks most tokens of its part of those given so far; at the beginning the largest."""
        given = sum(use.document_tokens for use in self.use.values())
        parts = self._parts
        return max(parts, key=lambda name: (parts[name] * given - self.use[name].document_tokens, parts[name]))

    def _place(self, name: str, drawn: int) -> int:
        """Which document of the source is the one that was drawn as number `drawn`, over all epochs."""
        epoch, place = divmod(drawn, self.use[name].num_documents)
        known = self._orders.get(name)
        if known is None or known[0] != epoch:
            known = epoch, Permutation(self.use[name].num_documents, key=f"{self.seed}/{name}/{epoch}")
            self._orders[name] = known
        return known[1][place]
