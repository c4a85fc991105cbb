"""From a Hugging Face checkpoint directory to a GGUF file, a piece of a tensor at a time."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_VERSION, GGMLQuantizationType, LlamaFileType

from moyai.checkpoint.disk import PARTIAL, finish_file, full_disk_told, require_space
from moyai.checkpoint.layout import check_complete
from moyai.checkpoint.reader import CheckpointReader
from moyai.errors import InputFileError
from moyai.gguf.architecture import ARCHITECTURE_NAMES, architecture_metadata
from moyai.gguf.encode import encoded_pieces
from moyai.gguf.tensor_types import ALIGNMENT, GgufType, StoredTensor, stored_tensors, tensor_data_bytes
from moyai.gguf.tokenizer_files import read_tokenizer_files
from moyai.gguf.vocabulary import vocabulary_metadata
from moyai.progress import Progress
from moyai.recipe.architecture import read_architecture

_FILE_TYPES: dict[GgufType, LlamaFileType] = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "bf16": LlamaFileType.MOSTLY_BF16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q4_k_m": LlamaFileType.MOSTLY_Q4_K_M,
}
# Keys of config.json that change the function and that a GGUF cannot say.
_PLAIN = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}


@dataclass(frozen=True)
class WrittenGguf:
    """What a written file holds."""

    num_tensors: Mapping[str, int]
    """Type -> how many tensors are stored in it."""
    num_fallback_tensors: int
    """Tensors whose rows are no whole number of blocks of the type that they should have had."""
    num_bytes: int


def checkpoint_to_gguf(
    checkpoint_dir: Path, out_path: Path, *, type: GgufType, progress: Progress, name: str = ""
) -> WrittenGguf:
    """Write a checkpoint as a GGUF file that llama.cpp loads; the file appears whole or not at all.

    Norms and routers stay float32, matrices take `type` as far as their shapes allow: see `stored_tensors`.
    Up to q8_0 that is what llama.cpp's own converter writes, and q4_k_m what its quantiser makes of an f32
    file.  The name of the pre-tokenizer is derived from the structure of `tokenizer.json`, never guessed.

    Args:
        checkpoint_dir: a checkpoint of a family and with a tokenizer that moyai knows.
        out_path: the file to write; an older one is replaced.
        type: how matrices are stored.
        progress: where to tell how far it is.
        name: `general.name`; default: the directory's name.

    Raises:
        InputFileError: the checkpoint is incomplete, or says something that a GGUF cannot.
        FailedError: a weight is beyond the range of the type that it is to be stored in.
        DiskSpaceError: the disk cannot hold the file.

    Source: `conversion/llama.py` and `conversion/base.py` (`prepare_tensors`) of llama.cpp.
    """
    architecture = read_architecture(checkpoint_dir)
    _refuse_unsayable(checkpoint_dir / "config.json")
    reader = CheckpointReader(checkpoint_dir)
    check_complete(reader.shapes, architecture, str(checkpoint_dir))
    vocabulary = read_tokenizer_files(checkpoint_dir, vocab_size=architecture.vocab_size)
    metadata = {
        "general.type": "model",
        "general.name": name or checkpoint_dir.resolve().name,
        "general.file_type": int(_FILE_TYPES[type]),
        "general.quantization_version": GGML_QUANT_VERSION,
        **architecture_metadata(architecture, where=str(checkpoint_dir / "config.json")),
        **vocabulary_metadata(vocabulary),
    }
    tensors = stored_tensors(architecture, type)
    needed = tensor_data_bytes(tensors)
    out_path.parent.mkdir(parents=True, exist_ok=True)
    require_space(out_path.parent, needed)
    partial = out_path.with_name(out_path.name + PARTIAL)
    try:
        with full_disk_told(out_path.parent, f"{out_path.name} was written"):
            _write_header(partial, ARCHITECTURE_NAMES[architecture.family], metadata, tensors)
            _append_tensors(partial, tensors, reader, progress)
        finish_file(partial, out_path)
    finally:
        partial.unlink(missing_ok=True)
    return _told(tensors, out_path.stat().st_size, progress)


def _refuse_unsayable(config_path: Path) -> None:
    config: dict[str, Any] = json.loads(config_path.read_text(encoding="utf-8"))
    for key, plain in _PLAIN.items():
        if config.get(key, plain) != plain:
            raise InputFileError(
                f"{config_path} has {key} {config[key]!r}; a GGUF can only be written for {plain!r}"
            )
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise InputFileError(
            f"{config_path} stretches its rotary positions ({kind!r}), not yet written to a GGUF"
        )


def _write_header(
    path: Path, architecture_name: str, metadata: Mapping[str, Any], tensors: Sequence[StoredTensor]
) -> None:
    writer = GGUFWriter(path, architecture_name)
    for key, value in metadata.items():
        _add(writer, key, value)
    for tensor in tensors:
        writer.add_tensor_info(
            tensor.pair.gguf_name,
            tensor.pair.gguf_shape,
            np.dtype(np.float32),
            tensor.num_bytes,
            raw_dtype=GGMLQuantizationType[tensor.type],
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % ALIGNMENT))


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        assert isinstance(value, list), key
        writer.add_array(key, value)


def _append_tensors(
    path: Path, tensors: Sequence[StoredTensor], reader: CheckpointReader, progress: Progress
) -> None:
    written, needed = 0, tensor_data_bytes(tensors)
    with path.open("ab") as file, progress.bar("GGUF", total=needed, unit="bytes") as bar:
        with closing(encoded_pieces(tensors, reader.tensors)) as pieces:
            for piece in pieces:
                num_bytes = file.write(piece)
                bar.advance(num_bytes)
                written += num_bytes
        file.flush()
        os.fsync(file.fileno())
    assert written == needed, (written, needed)


def _told(tensors: Sequence[StoredTensor], num_bytes: int, progress: Progress) -> WrittenGguf:
    num_fallback = sum(tensor.is_fallback for tensor in tensors)
    if num_fallback:
        progress.note(
            f"{num_fallback} of {len(tensors)} tensors have rows that are no whole number of blocks"
            " and take a larger type"
        )
    counts = Counter(tensor.type for tensor in tensors)
    return WrittenGguf(MappingProxyType(dict(sorted(counts.items()))), num_fallback, num_bytes)
