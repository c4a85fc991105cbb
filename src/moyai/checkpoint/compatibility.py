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
_VOCABULARY_FILES = ("tokenizer.json", "tokenizer.model")
_MAX_LISTED = 5


def require_compatible(base_dir: Path, others: Mapping[str, Path], *, same_vocabulary: bool = True) -> list[str]:
    """Check that the layers of `others` can stand in for those of the base; returns what is only worth a note.

    Compared are family, dimensions, activation, rotary positions (theta and scaling), epsilon and, where both have
    one, the vocabulary, piece by piece.

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
        found = differences(base, other) + config_differences(base_config, read_config(directory))
        if same_vocabulary:
            found += vocabulary_differences(base_dir, directory, base, other)
            if not _share_a_file(base_dir, directory):
                notes.append(f"the vocabularies of {name} and the base were not compared, they are in files of other kinds")
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


def config_differences(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what two configs differ that an `Architecture` does not hold: the activation, and how positions are stretched.

    >>> config_differences({}, {"hidden_act": "gelu"})
    ["hidden_act is 'gelu', not 'silu'"]
    """
    found = []
    ours, theirs = (config.get("hidden_act", "silu") for config in (base, other))
    if ours != theirs:
        found.append(f"hidden_act is {theirs!r}, not {ours!r}")
    ours, theirs = rope_scaling(base), rope_scaling(other)
    if ours != theirs:
        found.append(f"rope scaling is {theirs or 'none'}, not {ours or 'none'}")
    return found


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
    for name in _VOCABULARY_FILES:
        ours, theirs = first_dir / name, second_dir / name
        if ours.is_file() and theirs.is_file():
            if ours.read_bytes() == theirs.read_bytes():
                return []
            if name == "tokenizer.json":
                return _piece_differences(_ids(ours), _ids(theirs))
            return ["tokenizer.model is another one"]
    return []


def _share_a_file(*directories: Path) -> bool:
    """Whether a file says the vocabulary of each in the same form, or none says it of any."""
    found = [{name for name in _VOCABULARY_FILES if (directory / name).is_file()} for directory in directories]
    return bool(set.intersection(*found)) or not any(found)


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
