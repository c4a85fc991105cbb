"""What tokenizer files and corpora hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from moyai.cli.description import Description
from moyai.corpus.instructions.row_shapes import RowError, Shape, shape_of
from moyai.corpus.reading.documents import read_rows
from moyai.corpus.reading.rows import TEXT_COLUMN
from moyai.errors import InputFileError
from moyai.plan.corpus_size import measure_corpus
from moyai.tokenizer.sentencepiece.file import read_sentencepiece


def describe_tokenizer(path: Path) -> Description:
    """Kind and size of a `tokenizer.json` or a SentencePiece model.

    Raises:
        InputFileError: it is neither.
    """
    if path.suffix == ".model":
        return _describe_sentencepiece(path)
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


def _describe_sentencepiece(path: Path) -> Description:
    model = read_sentencepiece(path)
    facts = {
        "path": str(path),
        "model": f"SentencePiece {'BPE' if model.kind == 'bpe' else 'Unigram'}",
        "num_entries": len(model.pieces),
        "byte_fallback": model.has_byte_fallback,
        "replaces_characters": model.has_charsmap,
    }
    return Description("tokenizer", facts)


def describe_corpus(path: Path) -> Description:
    """Documents, conversations or preferences, and characters of a text file.

    Raises:
        InputFileError: a row is not as the first one says that all are.
    """
    shape = _first_shape(path)
    if shape is not None:
        kind: Literal["preferences", "conversations"] = "preferences" if shape == "preference" else "conversations"
        size = measure_corpus(str(path), kind)
        facts = {"path": str(path), "shape": shape, kind: size.documents, "characters": size.characters}
        return Description(kind, {**facts, "japanese_characters": size.japanese_characters})
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


def _first_shape(path: Path) -> Shape | None:
    """The shape of a file's first row; None where its rows are documents."""
    row = next(read_rows(path), {})
    try:
        return shape_of(row, str(path))
    except RowError:
        if TEXT_COLUMN in row or not row:
            return None
        raise
