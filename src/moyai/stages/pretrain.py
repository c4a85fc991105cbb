"""pretrain: continue next-token prediction on a mixture of documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moyai.corpus.mixing.mixture import Documents
from moyai.corpus.packing.packed import PackedCorpus
from moyai.corpus.reading.read import named_documents
from moyai.recipe.composition import STAGE_PREFIX
from moyai.recipe.settings import PretrainSettings
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.stages.training_run import only_parent, train_checkpoint
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.text_batches import text_batches
from moyai.training.pretrain import pretrain_rows

REVISION = 3


def outside(settings: PretrainSettings, cache_dir: Path) -> dict[str, str]:
    """The corpus files' hashes; what another stage has packed is known by its record."""
    return file_hashes(name for name in settings.corpus if not name.startswith(STAGE_PREFIX))


def run(settings: PretrainSettings, context: StageContext) -> dict[str, Any]:
    """Train on the documents that are not held out."""
    tokenizer = TextTokenizer(only_parent(context))
    documents = {name: tokenised_documents(name, tokenizer, context.inputs) for name in settings.corpus}
    rows = pretrain_rows(documents, settings)
    return {"objective": "pretrain", **train_checkpoint(rows, settings, context, label=settings.name or "pretrain")}


def tokenised_documents(name: str, tokenizer: TextTokenizer, inputs: Mapping[str, Path]) -> dict[str, Documents]:
    """The sources that an entry of the mixture stands for: a file itself, a packed corpus all that it has.

    Args:
        name: a file, `starter:NAME` or `stage:NAME[/SOURCE]`.
        tokenizer: of the model that is trained.
        inputs: artifacts by stage name.

    Raises:
        InputFileError: a file is missing or damaged, or a corpus was packed with another tokenizer.
    """
    if name.startswith(STAGE_PREFIX):
        stage, _, source = name.removeprefix(STAGE_PREFIX).partition("/")
        corpus = PackedCorpus.open(inputs[stage])
        corpus.require_tokenizer(tokenizer)
        wanted = [source] if source else [one for one, packed in corpus.sources.items() if len(packed)] or corpus.sources
        return {f"{STAGE_PREFIX}{stage}/{one}": corpus.sources[one] for one in wanted}
    start, end = tokenizer.document_start, tokenizer.document_end
    texts = (document.text for document in named_documents(name, "train"))
    batches = (tokenizer.encode_batch(batch) for batch in text_batches(texts, str))
    return {name: [np.array([start, *ids, end], dtype=np.int32) for batch in batches for ids in batch]}
