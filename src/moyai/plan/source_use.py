"""The texts that a stage reads: how large they are and how often it goes through them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moyai.errors import InputFileError
from moyai.plan.corpus_size import Content, TokenRates, measure_corpus


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


def sources_used(
    stage: str,
    mixture: Mapping[str, float],
    content: Content,
    rates: TokenRates,
    taken: Mapping[str, int] | None = None,
) -> tuple[tuple[SourceUse, ...], tuple[str, ...]]:
    """Size and use of every source; one that is not here becomes a warning.

    A plan may well be made before the data is fetched.
    """
    uses, warnings = [], []
    for source in mixture:
        tokens = taken[source] if taken is not None else None
        try:
            size = measure_corpus(source, content)
        except InputFileError as error:
            warnings.append(f"{stage}: {error}")
            uses.append(SourceUse(source, None, None, None, tokens, None))
            continue
        whole = rates.tokens(size)
        epochs = tokens / whole if tokens is not None and whole else None
        uses.append(SourceUse(source, size.documents, size.characters, whole, tokens, epochs))
    return tuple(uses), tuple(warnings)
