"""Reading a checkpoint directory's safetensors: headers at once, tensors when they are asked for."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import STORAGE_DTYPES, to_float32
from moyai.checkpoint.header import TensorInfo, parse_object, read_header
from moyai.errors import InputFileError

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

# Rows are read in pieces of about this many elements, so that memory does not grow with the tensor.
PIECE_ELEMENTS = 1 << 19


class CheckpointReader:
    """The tensors of a directory with `model.safetensors`, or with shards and their index.

    As in transformers, a `model.safetensors` goes before an index.  All headers are checked when the reader
    is made; no file stays open but those that `raw` maps.  Methods may be called from several threads.

    Raises:
        InputFileError: a file is missing, truncated, or contradicts itself or the index.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._tensors = _find_tensors(directory)
        self._maps: dict[Path, mmap.mmap] = {}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every tensor by name, in the order of the files."""
        return MappingProxyType(self._tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor."""
        return {name: info.shape for name, info in self._tensors.items()}

    def raw(self, name: str) -> NDArray[Any]:
        """A read-only view of a tensor in its storage dtype (BF16 as uint16), mapped from the file."""
        info = self._tensors[name]
        dtype = STORAGE_DTYPES[info.dtype]
        if info.num_bytes == 0:
            return np.empty(info.shape, dtype)
        if info.path not in self._maps:
            with info.path.open("rb") as file:
                self._maps[info.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        flat = np.frombuffer(self._maps[info.path], dtype, info.num_bytes // dtype.itemsize, info.start)
        return flat.reshape(info.shape)

    def float32(self, name: str) -> NDArray[np.float32]:
        """A tensor as a new float32 array of its shape, read without mapping.

        Raises:
            InputFileError: it is not stored as F32, F16 or BF16.
        """
        info = self._tensors[name]
        values = np.empty(info.shape, np.float32)
        rows = values.reshape(info.shape[0] if info.shape else 1, -1) if values.size else values
        for start, piece in row_pieces(info):
            rows[start : start + len(piece)] = to_float32(piece, info.dtype)
        return values


def row_length(info: TensorInfo) -> int:
    """Elements in one row: all that lie behind one index of the first dimension."""
    return info.num_bytes // STORAGE_DTYPES[info.dtype].itemsize // (info.shape[0] if info.shape else 1)


def row_pieces(info: TensorInfo) -> Iterator[tuple[int, NDArray[Any]]]:
    """A tensor in order as (first row, rows [n, row length] in storage dtype), a few megabytes each.

    Plain reads: mapped pages would count as this process's memory.
    """
    if info.num_bytes == 0:
        return
    num_rows, length = info.shape[0] if info.shape else 1, row_length(info)
    step = max(1, PIECE_ELEMENTS // length)
    for start in range(0, num_rows, step):
        yield start, read_rows(info, start, min(start + step, num_rows))


def read_rows(info: TensorInfo, start: int, stop: int) -> NDArray[Any]:
    """Rows `start` to `stop` of a tensor, [stop - start, row length], in storage dtype.

    Raises:
        InputFileError: the file has become shorter since its header was read.
    """
    rows = np.empty((stop - start, row_length(info)), STORAGE_DTYPES[info.dtype])
    with info.path.open("rb") as file:
        _read_into(file.fileno(), rows, info, start)
    return rows


def gather_rows(info: TensorInfo, indices: NDArray[np.int64]) -> NDArray[Any]:
    """The rows of a tensor at `indices`, in that order, [len(indices), row length], in storage dtype.

    Raises:
        InputFileError: the file has become shorter since its header was read.
    """
    rows = np.empty((len(indices), row_length(info)), STORAGE_DTYPES[info.dtype])
    with info.path.open("rb", buffering=0) as file:
        for row, index in zip(rows, indices.tolist(), strict=True):
            _read_into(file.fileno(), row, info, index)
    return rows


def _read_into(file: int, rows: NDArray[Any], info: TensorInfo, first_row: int) -> None:
    row_bytes = rows.shape[-1] * rows.itemsize
    buffer, offset = rows.reshape(-1).view(np.uint8).data, info.start + first_row * row_bytes
    while buffer:
        got = os.preadv(file, [buffer], offset)
        if got == 0:
            raise InputFileError(
                f"{info.path} ends within tensor {info.name!r}", hint="was it changed meanwhile?"
            )
        buffer, offset = buffer[got:], offset + got


def _find_tensors(directory: Path) -> dict[str, TensorInfo]:
    single, index = directory / SINGLE_NAME, directory / INDEX_NAME
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        raise InputFileError(
            f"{directory} has neither {SINGLE_NAME} nor {INDEX_NAME}",
            hint="a checkpoint directory has config.json and safetensors files",
        )
    weight_map = _weight_map(index)
    found: dict[str, TensorInfo] = {}
    for shard in dict.fromkeys(weight_map.values()):
        for name, info in read_header(directory / shard).items():
            if name in found:
                raise InputFileError(f"tensor {name!r} is both in {found[name].path} and in {info.path}")
            if weight_map.get(name) != shard:
                raise InputFileError(f"{info.path} holds tensor {name!r}, which {index} does not place there")
            found[name] = info
    for name, shard in weight_map.items():
        if name not in found:
            raise InputFileError(f"{directory / shard} lacks tensor {name!r}, which {index} places there")
    return found


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = parse_object(index, index.read_bytes(), "index").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise InputFileError(f"{index} has no weight_map from tensor names to file names")
    for name, file in weight_map.items():
        if Path(file).name != file or "\\" in file or "\0" in file or not file.endswith(".safetensors"):
            raise InputFileError(
                f"{index} places tensor {name!r} in {file!r}, which is no safetensors file's name beside it"
            )
    return weight_map
