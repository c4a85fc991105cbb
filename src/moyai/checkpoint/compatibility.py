"""Whether models can be put together: everything in which they differ, found before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, read_architecture, read_config

# Dimensions that the weights of one layer do not depend on.
_FREE = ("max_position_embeddings", "vocab_size", "tie_word_embeddings")
_MAX_LISTED = 5


def require_compatible(base_dir: Path, others: Mapping[str, Path], *, same_vocabulary: bool = True) -> list[str]:
    """Check that the layers of `others` can stand in for those of the base; returns what is only worth a note.

    Compared are family, dimensions, rotary positions (theta and scaling), epsilon and, where both have one, the
    vocabulary, piece by piece.

    Args:
        base_dir: the checkpoint that the others are put into.
        others: checkpoint directory by the name that messages use.
        same_vocabulary: whether another vocabulary is a fault.

    Raises:
        InputFileError: some differ; all differences of all of them are told at once.
    """
    base, base_config = read_architecture(base_dir), read_config(base_dir)
    faults, notes = [], []
    for name, directory in others.items():
        other = read_architecture(directory)
        found = differences(base, other)
        ours, theirs = rope_scaling(base_config), rope_scaling(read_config(directory))
        if ours != theirs:
            found.append(f"rope scaling is {theirs or 'none'}, not {ours or 'none'}")
        if same_vocabulary:
            found += vocabulary_differences(base_dir, directory, base, other)
        if found:
            faults.append(f"{name}: {', '.join(found)}")
        if other.max_position_embeddings < base.max_position_embeddings:
            notes.append(
                f"{name} was made for {other.max_position_embeddings} positions, the base for"
                f" {base.max_position_embeddings}"
            )
    if faults:
        raise InputFileError(
            f"these models do not fit the base {base_dir}: {'; '.join(faults)}",
            hint="put together only models that come from one parent and have kept its vocabulary",
        )
    return notes


def differences(base: Architecture, other: Architecture) -> list[str]:
    """The dimensions in which the layers of two models differ, each in a few words."""
    ours, theirs = base.model_dump(), other.model_dump()
    return [f"{key} is {theirs[key]}, not {ours[key]}" for key in ours if key not in _FREE and ours[key] != theirs[key]]


def rope_scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    """How a config stretches rotary positions, without theta; empty where it does not.

    >>> rope_scaling({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}})
    {}
    """
    scaling = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    scaling.pop("rope_theta", None)
    kind = scaling.pop("type", None)
    kind = scaling.pop("rope_type", None) or kind or "default"
    return {} if kind == "default" else {"rope_type": kind, **scaling}


def vocabulary_differences(first_dir: Path, second_dir: Path, first: Architecture, second: Architecture) -> list[str]:
    """In which pieces, or in how many rows, two vocabularies differ."""
    if first.vocab_size != second.vocab_size:
        return [f"the vocabulary has {second.vocab_size} rows, not {first.vocab_size}"]
    for name in ("tokenizer.json", "tokenizer.model"):
        ours, theirs = first_dir / name, second_dir / name
        if ours.is_file() and theirs.is_file():
            if ours.read_bytes() == theirs.read_bytes():
                return []
            if name == "tokenizer.json":
                return _piece_differences(_ids(ours), _ids(theirs))
            return ["tokenizer.model is another one"]
    return []


def _piece_differences(ours: dict[str, int], theirs: dict[str, int]) -> list[str]:
    other = sorted(piece for piece in ours.keys() | theirs.keys() if ours.get(piece) != theirs.get(piece))
    if not other:
        return []
    listed = ", ".join(map(repr, other[:_MAX_LISTED])) + (", ..." if len(other) > _MAX_LISTED else "")
    return [f"{len(other)} pieces of the vocabulary have another id or are in one only ({listed})"]


def _ids(path: Path) -> dict[str, int]:
    """Piece -> id of a `tokenizer.json`, added tokens included."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = data["model"]["vocab"]
        ids = (
            {piece: number for number, (piece, _) in enumerate(vocabulary)}
            if isinstance(vocabulary, list)
            else dict(vocabulary)
        )
        return ids | {token["content"]: token["id"] for token in data.get("added_tokens") or ()}
    except (ValueError, KeyError, TypeError):
        raise InputFileError(f"{path} is not a tokenizer.json with a vocabulary") from None
