"""How much text a token holds, before and after a stage changed or made the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moyai.report.lineage import RunReport, StageReport
from moyai.report.scores import Change


@dataclass(frozen=True)
class Holding:
    """One text: how much of it a token holds; before is None where there was no tokenizer."""

    text: str
    num_characters: int
    characters_before: float | None
    characters_after: float
    bytes_before: float | None
    bytes_after: float
    others: Mapping[str, float]
    """Characters per token of tokenizers that it is compared with, by name."""

    @property
    def change(self) -> Change | None:
        """Of characters per token; more is better."""
        if self.characters_before is None:
            return None
        return Change(self.characters_before, self.characters_after, lower_is_better=False)


@dataclass(frozen=True)
class VocabularyReport:
    """A stage that changed or made the vocabulary, and what held-out texts come to."""

    stage: StageReport
    holdings: tuple[Holding, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """The tokenizers that it is compared with."""
        return tuple(dict.fromkeys(name for holding in self.holdings for name in holding.others))


def vocabulary_reports(report: RunReport) -> tuple[VocabularyReport, ...]:
    """The stages of a run whose records tell what texts come to, in order."""
    stages = [stage for stage in report.stages if stage.kind in ("train_tokenizer", "extend")]
    return tuple(VocabularyReport(stage, found) for stage in stages if (found := _holdings(stage)))


def _holdings(stage: StageReport) -> tuple[Holding, ...]:
    """As `moyai.tokenizer.efficiency.compare` counted them."""
    found = []
    for text, counts in stage.results.get("efficiency", {}).get("texts", {}).items():
        before, after = counts["tokens"].get("before"), counts["tokens"]["after"]
        if after and before != 0:
            found.append(
                Holding(
                    text=text,
                    num_characters=counts["characters"],
                    characters_before=counts["characters"] / before if before else None,
                    characters_after=counts["characters"] / after,
                    bytes_before=counts["bytes"] / before if before else None,
                    bytes_after=counts["bytes"] / after,
                    others={
                        name: counts["characters"] / tokens
                        for name, tokens in counts["tokens"].items()
                        if name not in ("before", "after") and tokens
                    },
                )
            )
    return tuple(found)
