"""sft: supervised fine-tuning on conversations."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

from moyai.checkpoint.config import copy_tokenizer_files
from moyai.corpus.instructions.conversations import read_conversations
from moyai.corpus.reading.broken import Broken
from moyai.errors import InputFileError
from moyai.recipe.settings import SftSettings
from moyai.recipe.sources import corpus_file, corpus_files
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.stages.training_run import only_parent, train_checkpoint
from moyai.tokenizer.chat.format import ChatFormat
from moyai.tokenizer.chat.loss import training_sequences
from moyai.tokenizer.chat.templates import named_chat_format
from moyai.tokenizer.text import TextTokenizer
from moyai.training.sft import TokenizedConversation, sft_rows

REVISION = 3


def outside(settings: SftSettings, cache_dir: Path) -> dict[str, str]:
    """The conversation files' hashes."""
    return file_hashes(settings.data)


def run(settings: SftSettings, context: StageContext) -> dict[str, Any]:
    """Train on the assistant's words."""
    parent_dir = only_parent(context)
    chat_format = None if settings.chat_template is None else named_chat_format(settings.chat_template, parent_dir)
    tokenizer_dir = parent_dir if chat_format is None else _with_format(chat_format, parent_dir, context)
    tokenizer = TextTokenizer(tokenizer_dir)
    broken, left_out = Broken(settings.broken), Counter[str]()
    conversations = {name: _tokenized(name, tokenizer, settings, broken, left_out) for name in settings.data}
    if broken.counts and not any(conversations.values()):
        first = next(iter(broken.places.values()))[0]
        raise InputFileError(f"no conversation of {', '.join(settings.data)} can be learnt: {first}")
    rows = sft_rows(conversations, settings)
    label = settings.name or "sft"
    results = train_checkpoint(rows, settings, context, label=label, chat_format=chat_format)
    counts = {"num_broken": dict(broken.counts), "num_left_out": dict(left_out), "broken_places": dict(broken.places)}
    return {"objective": "sft", "chat_template": settings.chat_template or "the parent's", **counts, **results}


def _with_format(chat_format: ChatFormat, parent_dir: Path, context: StageContext) -> Path:
    directory = context.resume_dir / "tokenizer"
    directory.mkdir(parents=True, exist_ok=True)
    copy_tokenizer_files(parent_dir, directory)
    chat_format.write(directory)
    return directory


def _tokenized(
    name: str, tokenizer: TextTokenizer, settings: SftSettings, broken: Broken, left_out: Counter[str]
) -> list[TokenizedConversation]:
    found = (
        read_conversations(corpus_file(file), language=settings.language, broken=broken, left_out=left_out)
        for file in corpus_files(name)
    )
    tokenized = []
    for conversation in chain.from_iterable(found):
        try:
            sequences = training_sequences(tokenizer, conversation.messages, loss_on=settings.loss_on)
        except InputFileError as error:
            broken.add("template fails", conversation.place, f"cannot be learnt: {error}", hint=error.hint)
            continue
        tokenized += [TokenizedConversation(sequence.ids, sequence.weights) for sequence in sequences]
    return tokenized
