"""sft: supervised fine-tuning on conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moyai.corpus.documents import read_conversations
from moyai.recipe.settings import SftSettings
from moyai.recipe.sources import corpus_file
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.stages.training_run import only_parent, train_checkpoint
from moyai.tokenizer.chat import assistant_weights
from moyai.tokenizer.text import TextTokenizer
from moyai.training.sft import TokenizedConversation, sft_rows

REVISION = 1


def outside(settings: SftSettings, cache_dir: Path) -> dict[str, str]:
    """The conversation files' hashes."""
    return file_hashes(settings.data)


def run(settings: SftSettings, context: StageContext) -> dict[str, Any]:
    """Train on the assistant's words."""
    tokenizer = TextTokenizer(only_parent(context))
    conversations = {
        name: [
            TokenizedConversation(*assistant_weights(tokenizer, conversation.messages))
            for conversation in read_conversations(corpus_file(name))
        ]
        for name in settings.data
    }
    rows = sft_rows(conversations, settings)
    return {"objective": "sft", **train_checkpoint(rows, settings, context, label=settings.name or "sft")}
