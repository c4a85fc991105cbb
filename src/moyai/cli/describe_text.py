"""What tokenizer files and corpora hold."""

from __future__ import annotations

import json
from pathlib import Path

from moyai.cli.description import Description
from moyai.errors import InputFileError
from moyai.plan.corpus_size import measure_corpus


def describe_tokenizer(path: Path) -> Description:
    """Kind and size of a `tokenizer.json`.

    Raises:
        InputFileError: it is not one.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        model, added = data["model"], data["added_tokens"]
        vocabulary = model["vocab"]
        # Unigram has pairs of piece and score, the others a mapping from piece to id
        pieces = set(vocabulary) if isinstance(vocabulary, dict) else {piece for piece, _ in vocabulary}
        pieces |= {token["content"] for token in added}
        facts = {
            "path": str(path),
            "model": model["type"],
            "num_entries": len(pieces),
            "num_merges": len(model.get("merges", [])),
            "added_tokens": len(added),
        }
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        raise InputFileError(
            f"{path} is not a tokenizer.json", hint="show a checkpoint directory instead"
        ) from None
    return Description("tokenizer", facts)


def describe_corpus(path: Path) -> Description:
    """Documents, or conversations, and characters of a text file.

    Raises:
        InputFileError: a row is neither a document nor a conversation.
    """
    if _first_row_has_messages(path):
        size = measure_corpus(str(path), "conversations")
        facts = {"path": str(path), "conversations": size.documents, "characters": size.characters}
        return Description("conversations", {**facts, "japanese_characters": size.japanese_characters})
    train, heldout = (measure_corpus(str(path), part) for part in ("train documents", "held-out documents"))
    facts = {
        "path": str(path),
        "train_documents": train.documents,
        "heldout_documents": heldout.documents,
        "train_characters": train.characters,
        "heldout_characters": heldout.characters,
        "japanese_characters": train.japanese_characters + heldout.japanese_characters,
    }
    return Description("corpus", facts)


def _first_row_has_messages(path: Path) -> bool:
    from moyai.corpus.documents import read_rows

    return not path.name.endswith(".txt") and "messages" in next(read_rows(path), {})
