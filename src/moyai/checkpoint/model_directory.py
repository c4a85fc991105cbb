"""Writing a whole checkpoint directory: weights, config, tokenizer, and where each tensor came from.

Every stage that makes a model from files writes it here, so that the same checks stand behind all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moyai.checkpoint.config import copy_tokenizer_files, write_config
from moyai.checkpoint.header import TensorInfo, parse_object
from moyai.checkpoint.layout import EMBEDDING_NAME, check_complete
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.writer import write_checkpoint
from moyai.progress import Progress
from moyai.recipe.architecture import Architecture, read_architecture

ORIGINS_NAME = "tensor_origins.json"


def write_model(
    out_dir: Path,
    architecture: Architecture,
    planned: Sequence[PlannedTensor],
    *,
    like: Mapping[str, Any],
    tokenizer_dir: Path | None,
    shard_bytes: int,
    progress: Progress,
) -> dict[str, Any]:
    """Write a model and check what was written; returns the counts for a record.

    Beside the weights, `tensor_origins.json` says what each tensor was made of.  After the write all headers are
    read back: each tensor that the architecture needs is there in its shape, none is left over, each has an origin,
    and the config reads as `architecture`.

    Args:
        out_dir: the checkpoint directory.
        architecture: what the tensors are a model of.
        planned: exactly its tensors.
        like: the parent's config, for what an `Architecture` does not hold.
        tokenizer_dir: where tokenizer files are copied from; None where they are written otherwise.
        shard_bytes: most data in one file.
        progress: where to tell how far it is.

    Raises:
        InputFileError: a source file changed meanwhile, or `like` says something that cannot be kept.
        DiskSpaceError: the disk is full.
    """
    shapes = {tensor.name: tensor.shape for tensor in planned}
    check_complete(shapes, architecture, f"the plan for {out_dir}")
    origins = origins_json(planned)
    files = write_checkpoint(
        out_dir, planned, shard_bytes=shard_bytes, progress=progress, extra_files={ORIGINS_NAME: origins}
    )
    dtype = next(tensor.dtype for tensor in planned if tensor.name == EMBEDDING_NAME)
    write_config(out_dir, architecture, dtype=dtype, like=dict(like))
    if tokenizer_dir is not None:
        copy_tokenizer_files(tokenizer_dir, out_dir)
    written = CheckpointReader(out_dir)
    check_complete(written.shapes, architecture, str(out_dir))
    assert read_architecture(out_dir) == architecture, "config.json reads as another architecture"
    return {
        "num_parameters": sum(tensor.num_elements for tensor in planned),
        "num_tensors": len(planned),
        "num_shards": len(files),
        "num_bytes": sum(path.stat().st_size for path in files),
        "num_tensors_copied": sum(isinstance(tensor.content, TensorInfo) for tensor in planned),
    }


def read_origins(directory: Path) -> dict[str, str]:
    """Name of each tensor of a checkpoint -> what it was made of; empty where the directory does not tell.

    Raises:
        InputFileError: the file that tells is not a JSON object.
    """
    path = directory / ORIGINS_NAME
    if not path.is_file():
        return {}
    return {name: str(origin) for name, origin in parse_object(path, path.read_bytes(), "list of origins").items()}


def origins_json(planned: Sequence[PlannedTensor]) -> bytes:
    """Name of each tensor -> what it was made of."""
    origins = {tensor.name: tensor.origin for tensor in planned}
    assert all(origins.values()), "a tensor has no origin"
    return json.dumps(origins, indent=0, ensure_ascii=False).encode() + b"\n"
