"""pretrain: continue next-token prediction on a mixture of documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moyai.corpus.documents import read_documents
from moyai.errors import UserError
from moyai.recipe.settings import PretrainSettings
from moyai.recipe.sources import corpus_file
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.stages.training_run import only_parent, train_checkpoint
from moyai.tokenizer.text import TextTokenizer
from moyai.training.pretrain import pretrain_rows

REVISION = 1


def outside(settings: PretrainSettings, cache_dir: Path) -> dict[str, str]:
    """The corpus files' hashes."""
    return file_hashes(settings.corpus)


def run(settings: PretrainSettings, context: StageContext) -> dict[str, Any]:
    """Train on the documents that are not held out."""
    tokenizer = TextTokenizer(only_parent(context))
    documents = {}
    for name in settings.corpus:
        texts = [d.text for d in read_documents(corpus_file(name)) if d.split == "train"]
        if not texts:
            raise UserError(f"{name} has no training document", hint='give rows "split": "train", or more documents')
        documents[name] = [
            [tokenizer.document_start, *ids, tokenizer.document_end] for ids in tokenizer.encode_batch(texts)
        ]
    rows = pretrain_rows(documents, settings)
    return {"objective": "pretrain", **train_checkpoint(rows, settings, context, label=settings.name or "pretrain")}
