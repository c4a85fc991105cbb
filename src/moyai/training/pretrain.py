"""The pre-training objective: every token of packed documents."""

from __future__ import annotations

from collections.abc import Mapping

from moyai.corpus.mixing.mixture import Documents, Mixture, SourceUse
from moyai.corpus.mixing.shuffle import Shuffled
from moyai.corpus.mixing.token_targets import divide, token_targets
from moyai.forest.pack import fill_rows
from moyai.recipe.settings import PretrainSettings
from moyai.training.objective import Rows


def pretrain_rows(documents: Mapping[str, Mapping[str, Documents]], settings: PretrainSettings) -> Rows:
    """Rows for `settings.tokens` tokens, rounded up to whole optimiser steps.

    Args:
        documents: token ids of every training document, document boundaries included: for each entry of the mixture
            the sources that it stands for, which are used in proportion to their tokens.
        settings: amounts, lengths and seed.

    Raises:
        UserError: a source has no text, or the amounts do not fit together.
    """
    rows_per_step = settings.batch_tokens // settings.row_tokens
    num_steps = -(-settings.tokens // settings.batch_tokens)
    num_rows = num_steps * rows_per_step
    sources = {name: source for of_entry in documents.values() for name, source in of_entry.items()}
    mixture = Mixture(sources, _targets(documents, settings), settings.seed)
    rows = fill_rows(mixture, row_tokens=settings.row_tokens, num_rows=num_rows)
    # Rows are cut from the mixture in order, so neighbours hold one long document: spread them.
    return Rows(
        Shuffled(rows, key=f"{settings.seed}/rows"),
        {
            name: {
                "tokens": use.tokens,
                "documents": use.documents,
                "documents_in_source": use.num_documents,
                "epochs": round(use.epochs, 3),
            }
            for name, use in mixture.use.items()
        },
        num_rows * settings.row_tokens,
    )


def _targets(documents: Mapping[str, Mapping[str, Documents]], settings: PretrainSettings) -> dict[str, int]:
    sizes = {
        entry: {name: SourceUse.none_of(name, source).tokens_per_epoch for name, source in sources.items()}
        for entry, sources in documents.items()
    }
    whole = {entry: sum(of_entry.values()) for entry, of_entry in sizes.items()}
    targets = token_targets(settings.corpus, whole, total=settings.tokens, temperature=settings.temperature)
    return {name: part for entry, target in targets.items() for name, part in divide(target, sizes[entry]).items()}
