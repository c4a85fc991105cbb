"""The pre-training objective: every token of packed documents."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from moyai.corpus.mixture import Mixture
from moyai.forest.pack import fill_rows
from moyai.recipe.settings import PretrainSettings
from moyai.training.objective import Rows


def pretrain_rows(documents: Mapping[str, Sequence[Sequence[int]]], settings: PretrainSettings) -> Rows:
    """Rows for `settings.tokens` tokens, rounded up to whole optimiser steps.

    Args:
        documents: token ids of every training document by source, document boundaries included.
        settings: shares, lengths and seed.
    """
    rows_per_step = settings.batch_tokens // settings.row_tokens
    num_steps = -(-settings.tokens // settings.batch_tokens)
    mixture = Mixture(documents, settings.corpus, settings.seed)
    rows = fill_rows(mixture, row_tokens=settings.row_tokens, num_rows=num_steps * rows_per_step)
    # Rows are cut from the mixture in order, so neighbours hold one long document: spread them.
    random.Random(settings.seed).shuffle(rows)
    return Rows(
        rows,
        {
            name: {
                "tokens": use.tokens,
                "documents": use.documents,
                "documents_in_source": use.num_documents,
                "epochs": round(use.epochs, 3),
            }
            for name, use in mixture.use.items()
        },
    )
