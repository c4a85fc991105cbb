"""What checkpoint directories, safetensors files and GGUF files hold, from their headers alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moyai.cli.description import Description
from moyai.plan.parameters import count_parameters

if TYPE_CHECKING:
    from moyai.checkpoint.header import TensorInfo
    from moyai.recipe.architecture import Architecture

_LONG_VALUE = 120


def describe_checkpoint(directory: Path) -> Description:
    """Dimensions, parameters, storage and tokenizer of a checkpoint directory.

    Raises:
        InputFileError: a file is missing, truncated, or contradicts another.
    """
    from moyai.checkpoint.reader import CheckpointReader
    from moyai.recipe.architecture import read_architecture

    architecture = read_architecture(directory)
    tensors = CheckpointReader(directory).tensors.values()
    facts = {
        "path": str(directory),
        "class": architecture.class_name,
        **_dimensions(architecture),
        **_parameters(architecture),
        **_storage(tensors),
        **_tokenizer(directory),
        **_origin(directory),
    }
    return Description("checkpoint", facts)


def describe_safetensors(path: Path) -> Description:
    """Every tensor of one safetensors file.

    Raises:
        InputFileError: the file is truncated or contradicts itself.
    """
    from moyai.checkpoint.header import read_header

    tensors = read_header(path).values()
    rows = [{"tensor": info.name, "dtype": info.dtype, "shape": list(info.shape)} for info in tensors]
    return Description("safetensors file", {"path": str(path), **_storage(tensors)}, {"tensors": rows})


def describe_gguf(path: Path) -> Description:
    """Metadata and quantisations of a GGUF file.

    Raises:
        InputFileError: the file is truncated or contradicts itself.
    """
    from moyai.gguf.header import read_header

    header = read_header(path)
    kinds: Counter[str] = Counter()
    for tensor in header.tensors.values():
        kinds[tensor.type.name] += tensor.num_elements
    facts = {
        "path": str(path),
        "num_bytes": path.stat().st_size,
        "num_tensors": len(header.tensors),
        "total_parameters": sum(kinds.values()),
        "parameters_by_type": dict(kinds.most_common()),
    }
    metadata = [{"key": key, "value": _short(value)} for key, value in header.metadata.items()]
    return Description("GGUF file", facts, {"metadata": metadata})


def _dimensions(architecture: Architecture) -> dict[str, Any]:
    names = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "tie_word_embeddings",
    ]
    if architecture.is_moe:
        names += ["num_experts", "num_active_experts"]
    return {name: getattr(architecture, name) for name in names}


def _parameters(architecture: Architecture) -> dict[str, int]:
    count = count_parameters(architecture)
    return {
        "total_parameters": count.total,
        "active_parameters": count.active,
        "embedding_parameters": count.embedding,
    }


def _storage(tensors: Iterable[TensorInfo]) -> dict[str, Any]:
    stored: Counter[str] = Counter()
    files: set[Path] = set()
    num_bytes = num_tensors = 0
    for info in tensors:
        stored[info.dtype] += math.prod(info.shape)
        files.add(info.path)
        num_bytes += info.num_bytes
        num_tensors += 1
    return {
        "num_tensors": num_tensors,
        "num_shards": len(files),
        "num_bytes": num_bytes,
        "values_by_dtype": dict(stored.most_common()),
    }


def _tokenizer(directory: Path) -> dict[str, Any]:
    from moyai.cli.describe_text import describe_tokenizer

    path = directory / "tokenizer.json"
    if not path.is_file():
        return {"tokenizer": "none (no tokenizer.json)"}
    facts = describe_tokenizer(path).facts
    return {"tokenizer": facts["model"], "tokenizer_entries": facts["num_entries"]}


def _origin(directory: Path) -> Mapping[str, Any]:
    from moyai.recipe.record import RECORD_NAME, read_record

    if not (directory / RECORD_NAME).is_file():
        return {}
    record = read_record(directory)
    return {"made_by_stage": record.name, "fingerprint": record.fingerprint}


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return f"{len(value):,} values"
    if isinstance(value, str):
        line = " ".join(value.split())
        return line if len(line) <= _LONG_VALUE else f"{line[:_LONG_VALUE]}… ({len(value):,} characters)"
    return value if isinstance(value, int | float | bool) else json.dumps(value)
