"""The texts that a stage reads: how large they are and how often it goes through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from moyai.corpus.mixing.token_targets import token_targets
from moyai.errors import UserError
from moyai.plan.corpus_size import Content, CorpusSize, TokenRates, measure_corpus
from moyai.plan.prepared_size import measure_source
from moyai.recipe.composition import STAGE_PREFIX
from moyai.recipe.corpus_settings import CorpusSource
from moyai.recipe.settings import PretrainSettings


@dataclass(frozen=True)
class SourceUse:
    """One text that a stage reads; None where the file is not on this machine."""

    source: str
    documents: int | None
    characters: int | None
    source_tokens: int | None
    """Expected tokens of the whole text."""
    tokens: int | None
    """Tokens taken from it."""
    epochs: float | None

    def taking(self, tokens: int | None) -> Self:
        """The same text, of which so many tokens are taken."""
        epochs = tokens / self.source_tokens if tokens is not None and self.source_tokens else None
        return replace(self, tokens=tokens, epochs=epochs)


Measured = tuple[tuple[SourceUse, ...], tuple[str, ...]]
"""The texts, and warnings about those that are not here: a plan may well be made before the data is fetched."""


def sources_used(stage: str, names: Iterable[str], content: Content, rates: TokenRates) -> Measured:
    """The size of every file; one that is not here becomes a warning."""
    return _measured(stage, {name: partial(measure_corpus, name, content) for name in names}, rates)


def sources_prepared(stage: str, sources: Mapping[str, CorpusSource], rates: TokenRates) -> Measured:
    """The size of every source of a corpus that is to be prepared, before anything is dropped."""
    return _measured(stage, {name: partial(measure_source, source) for name, source in sources.items()}, rates)


def sources_mixed(
    stage: str, settings: PretrainSettings, packed: Mapping[str, Sequence[SourceUse]], rates: TokenRates
) -> Measured:
    """The size of every entry of a mixture, and how much of it is taken.

    Args:
        stage: for the warnings.
        settings: the amounts.
        packed: the sources that other stages pack, by the name of the stage.
        rates: of the tokenizer.
    """
    files = [name for name in settings.corpus if not name.startswith(STAGE_PREFIX)]
    uses, warnings = sources_used(stage, files, "train documents", rates)
    found = {use.source: use for use in uses}
    found |= {name: _packed(name, packed) for name in settings.corpus if name not in found}
    sizes = {name: use.source_tokens for name, use in found.items()}
    fixed = all(amount.epochs is None for amount in settings.corpus.values()) and settings.temperature is None
    if not fixed and not all(sizes.values()):
        return tuple(found[name] for name in settings.corpus), warnings
    known = {name: size or 1 for name, size in sizes.items()}
    try:
        taken = token_targets(settings.corpus, known, total=settings.tokens, temperature=settings.temperature)
    except UserError as error:
        return tuple(found[name] for name in settings.corpus), (*warnings, f"{stage}: {error}, if the estimates are right")
    return tuple(found[name].taking(taken[name]) for name in settings.corpus), warnings


def _measured(stage: str, measures: Mapping[str, Callable[[], CorpusSize]], rates: TokenRates) -> Measured:
    uses, warnings = [], []
    for name, measure in measures.items():
        try:
            size = measure()
        except UserError as error:
            warnings.append(f"{stage}: {error}")
            uses.append(SourceUse(name, None, None, None, None, None))
        else:
            uses.append(SourceUse(name, size.documents, size.characters, rates.tokens(size), None, None))
    return tuple(uses), tuple(warnings)


def _packed(entry: str, packed: Mapping[str, Sequence[SourceUse]]) -> SourceUse:
    """What `stage:NAME` or `stage:NAME/SOURCE` stands for."""
    stage, _, source = entry.removeprefix(STAGE_PREFIX).partition("/")
    uses = [use for use in packed[stage] if source in ("", use.source)]

    def total(key: str) -> int | None:
        counts = [getattr(use, key) for use in uses]
        return None if None in counts else sum(counts)

    return SourceUse(entry, total("documents"), total("characters"), total("source_tokens"), None, None)
