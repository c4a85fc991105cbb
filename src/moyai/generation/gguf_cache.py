"""Checkpoints as GGUF files for llama.cpp, exported once and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from moyai.checkpoint.sources import source_sha256
from moyai.errors import InputFileError
from moyai.gguf.tensor_types import GgufType
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import Progress
from moyai.recipe.record import RECORD_NAME, canonical_json, read_record
from moyai.recipe.sources import LocalModel

# Raised when the same checkpoint gives another file.
_REVISION = 1
_TYPE: GgufType = "q8_0"


def gguf_for(model_path: Path, cache_dir: Path, progress: Progress) -> Path:
    """The GGUF file of a model: a `.gguf` itself, or a checkpoint directory's q8_0 export, made on first use.

    Args:
        model_path: a `.gguf` file or a checkpoint directory.
        cache_dir: where exports are kept, named after the content they are made of.
        progress: where to tell how far it is.

    Raises:
        InputFileError: there is no such model, or it cannot be exported.
        DiskSpaceError: the disk cannot hold the export.
    """
    if model_path.suffix == ".gguf" and model_path.is_file():
        return model_path
    if not model_path.is_dir():
        raise InputFileError(f"{model_path} is neither a .gguf file nor a checkpoint directory")
    path = cache_dir / f"{_content_key(model_path, cache_dir)}-{_TYPE}.gguf"
    if not path.is_file():
        progress.note(f"writing {model_path} as {_TYPE} for llama.cpp, once")
        checkpoint_to_gguf(model_path, path, type=_TYPE, progress=progress, name=model_path.resolve().name)
    return path


def _content_key(checkpoint_dir: Path, cache_dir: Path) -> str:
    """32 hexadecimal digits that change with the content.

    Of a finished stage, the record's fingerprint with sizes and times of the weights stands for the content:
    training twice under one record need not give the same bits.  Any other directory is hashed.
    """
    content: dict[str, object] = {"revision": _REVISION}
    if (checkpoint_dir / RECORD_NAME).is_file():
        content["record"] = read_record(checkpoint_dir).fingerprint
        weights = {path.name: path.stat() for path in checkpoint_dir.glob("*.safetensors")}
        content["weights"] = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in weights.items()}
    else:
        content["sha256"] = source_sha256(LocalModel(checkpoint_dir), cache_dir)
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:32]
