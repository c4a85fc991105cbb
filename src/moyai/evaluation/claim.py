"""What a mixture says of itself: by which method it was upcycled, and whether that keeps the parent's function."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from moyai.checkpoint.layout import MATRICES, expert_name
from moyai.checkpoint.model_directory import ORIGINS_NAME
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture
from moyai.recipe.record import RECORD_NAME, read_record

_COPIED = re.compile(
    r"copy of model\.layers\.\d+\.mlp\.((gate|up)_proj\.weight(\[.*\])?|down_proj\.weight(\[.*\])?(, times [\d.]+)?)"
)


def claimed_method(checkpoint_dir: Path, architecture: Architecture) -> tuple[str | None, bool]:
    """The method of upcycling, None where it is not told, and whether it keeps the parent's function.

    The `record.json` of an upcycled model tells; where there is none, the origins of its experts tell whether they are
    copies.

    Raises:
        InputFileError: one of the two files is there and cannot be read.
    """
    if not architecture.is_moe:
        return None, False
    if (checkpoint_dir / RECORD_NAME).is_file():
        identity = read_record(checkpoint_dir).identity
        if identity.kind != "upcycle":
            return None, False
        method = str(identity.settings["method"])
        keeps = method == "copy" or (method == "virtual-group" and identity.settings["scaling"] == "down")
        return method, keeps
    origins = _expert_origins(checkpoint_dir / ORIGINS_NAME, architecture)
    if not origins or not all(_COPIED.fullmatch(origin) for origin in origins):
        return None, False
    return ("virtual-group" if any("[" in origin for origin in origins) else "copy"), True


def _expert_origins(path: Path, a: Architecture) -> list[str]:
    if not path.is_file():
        return []
    try:
        origins = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputFileError(f"{path} is not JSON: {error}") from None
    return [str(origins.get(name, "")) for name in _expert_names(a)]


def _expert_names(a: Architecture) -> Iterable[str]:
    for layer in range(a.num_hidden_layers):
        for expert in range(a.num_experts):
            for matrix in MATRICES:
                yield expert_name(a.family, layer, expert, matrix)
