"""From a Hugging Face checkpoint directory to a GGUF file, a piece of a tensor at a time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from gguf import GGUFWriter
from gguf.constants import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    GGUF_DEFAULT_ALIGNMENT,
    GGMLQuantizationType,
    LlamaFileType,
)
from gguf.quants import quantize
from numpy.typing import NDArray

from moyai.checkpoint.disk import PARTIAL, finish_file, full_disk_told, require_space
from moyai.checkpoint.dtypes import from_float32, to_float32
from moyai.checkpoint.layout import check_complete
from moyai.checkpoint.reader import CheckpointReader, read_rows, row_length
from moyai.errors import InputFileError
from moyai.gguf.architecture import architecture_metadata
from moyai.gguf.read import PIECE_ELEMENTS
from moyai.gguf.tensors import TensorPair, permuted, tensor_pairs
from moyai.gguf.tokenizer_files import read_tokenizer_files
from moyai.gguf.vocabulary import vocabulary_metadata
from moyai.progress import Progress
from moyai.recipe.architecture import read_architecture

GgufType = Literal["f32", "f16", "bf16", "q8_0"]

_TYPES: dict[GgufType, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
# Keys of config.json that change the function and that metadata of architecture `llama` cannot say.
_PLAIN = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}


def checkpoint_to_gguf(
    checkpoint_dir: Path, out_path: Path, *, type: GgufType, progress: Progress, name: str = ""
) -> None:
    """Write a checkpoint as a GGUF file that llama.cpp loads; the file appears whole or not at all.

    Matrices take `type`, or f16 where a row is no whole number of its blocks; norms and routers stay
    float32, as in llama.cpp's own converter.  The name of the pre-tokenizer is derived from the structure of
    `tokenizer.json`, never guessed.

    Args:
        checkpoint_dir: a Llama, Mistral or Mixtral checkpoint with a byte-level BPE `tokenizer.json`.
        out_path: the file to write; an older one is replaced.
        type: how matrices are stored.
        progress: where to tell how far it is.
        name: `general.name`; default: the directory's name.

    Raises:
        InputFileError: the checkpoint is incomplete, or says something that a GGUF cannot.
        FailedError: a weight is beyond the range of float16.
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
        "general.file_type": int(_TYPES[type][1]),
        "general.quantization_version": GGML_QUANT_VERSION,
        **architecture_metadata(architecture),
        **vocabulary_metadata(vocabulary),
    }
    stored = [(pair, _stored_type(pair, type)) for pair in tensor_pairs(architecture)]
    needed = sum(_padded(_num_bytes(pair, kind)) for pair, kind in stored)
    out_path.parent.mkdir(parents=True, exist_ok=True)
    require_space(out_path.parent, needed)
    partial = out_path.with_name(out_path.name + PARTIAL)
    try:
        with full_disk_told(out_path.parent, f"{out_path.name} was written"):
            _write_header(partial, metadata, stored)
            with partial.open("ab") as file, progress.bar("GGUF", total=needed, unit="bytes") as bar:
                for pair, kind in stored:
                    bar.advance(_write_tensor(file, reader, pair, kind))
                file.flush()
                os.fsync(file.fileno())
        finish_file(partial, out_path)
    finally:
        partial.unlink(missing_ok=True)


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


def _stored_type(pair: TensorPair, type: GgufType) -> GGMLQuantizationType:
    if len(pair.shape) == 1 or ".ffn_gate_inp." in pair.gguf_name:
        return GGMLQuantizationType.F32
    kind = _TYPES[type][0]
    return kind if pair.shape[-1] % GGML_QUANT_SIZES[kind][0] == 0 else GGMLQuantizationType.F16


def _num_bytes(pair: TensorPair, kind: GGMLQuantizationType) -> int:
    block, block_bytes = GGML_QUANT_SIZES[kind]
    num_bytes: int = math.prod(pair.gguf_shape) // block * block_bytes
    return num_bytes


def _padded(num_bytes: int) -> int:
    padded: int = -(-num_bytes // GGUF_DEFAULT_ALIGNMENT) * GGUF_DEFAULT_ALIGNMENT
    return padded


def _write_header(
    path: Path, metadata: Mapping[str, Any], stored: list[tuple[TensorPair, GGMLQuantizationType]]
) -> None:
    writer = GGUFWriter(path, "llama")
    for key, value in metadata.items():
        _add(writer, key, value)
    for pair, kind in stored:
        shape, dtype = pair.gguf_shape, np.dtype(np.float32)
        writer.add_tensor_info(pair.gguf_name, shape, dtype, _num_bytes(pair, kind), raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    with path.open("ab") as file:
        file.write(bytes(_padded(file.tell()) - file.tell()))


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


def _write_tensor(
    file: BinaryIO, reader: CheckpointReader, pair: TensorPair, kind: GGMLQuantizationType
) -> int:
    """Write one tensor with its padding; the bytes written."""
    written = 0
    for name in pair.checkpoint_names:
        for rows_RC in _float32_pieces(reader, name, pair.head_dim):
            written += file.write(_storage(rows_RC, kind).tobytes())
    assert written == _num_bytes(pair, kind), pair.gguf_name
    return written + file.write(bytes(_padded(written) - written))


def _float32_pieces(reader: CheckpointReader, name: str, head_dim: int) -> Iterator[NDArray[np.float32]]:
    """A checkpoint tensor in llama.cpp's order of rows, a few megabytes each; a vector is one row."""
    info = reader.tensors[name]
    num_rows, multiple = info.shape[0], head_dim or 1
    step = max(1, PIECE_ELEMENTS // (row_length(info) * multiple)) * multiple
    for start in range(0, num_rows, step):
        rows_RC = to_float32(read_rows(info, start, min(start + step, num_rows)), info.dtype)
        if not np.isfinite(rows_RC).all():
            raise InputFileError(f"{info.path}: tensor {name!r} holds values that are not finite")
        yield permuted(rows_RC, head_dim) if head_dim else rows_RC


def _storage(rows_RC: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[Any]:
    if kind == GGMLQuantizationType.Q8_0:
        blocks: NDArray[np.uint8] = quantize(rows_RC, kind)
        return blocks
    return from_float32(rows_RC, kind.name)
