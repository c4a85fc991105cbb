"""Reading a checkpoint directory's weights: where each tensor lies at once, tensors when they are asked for."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.config import CONFIG_NAME
from moyai.checkpoint.dtypes import STORAGE_DTYPES, to_float32
from moyai.checkpoint.header import TensorInfo, is_unicode, parse_object, read_header
from moyai.checkpoint.input_file import open_input, shown
from moyai.checkpoint.layout import EMBEDDING_NAME, HEAD_NAME
from moyai.checkpoint.torch_file import read_torch_file
from moyai.errors import InputFileError
from moyai.recipe.architecture import read_config

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
TORCH_SINGLE_NAME = "pytorch_model.bin"
TORCH_INDEX_NAME = "pytorch_model.bin.index.json"

# Rows are read in pieces of about this many elements, so that memory does not grow with the tensor.
PIECE_ELEMENTS = 1 << 19


# An index has about a hundred bytes for a tensor; parsed, a hostile one takes up to 25 times its size.
_MAX_INDEX_BYTES = 50_000_000


@dataclass(frozen=True)
class _Format:
    """One way in which weights lie in a directory."""

    single_name: str
    index_name: str
    suffix: str
    read: Callable[[Path], dict[str, TensorInfo]]


# In the order in which transformers looks for them.
_FORMATS = (
    _Format(SINGLE_NAME, INDEX_NAME, ".safetensors", read_header),
    _Format(TORCH_SINGLE_NAME, TORCH_INDEX_NAME, ".bin", read_torch_file),
)


class CheckpointReader:
    """The tensors of a directory with `model.safetensors`, or with shards and their index, or the same of torch.

    As in transformers, safetensors go before `pytorch_model.bin`, and a single file before an index.  All headers
    are checked when the reader is made; no file stays open but those that `raw` maps.  Methods may be called from
    several threads.  torch is imported only for its own files.

    A safetensors file holds tied weights once, a torch file under both names.  So that both read alike, a
    `lm_head.weight` of a torch file is left out if `config.json` says that it is tied and its bytes are those of
    the embedding.

    Raises:
        InputFileError: a file is missing, truncated, or contradicts itself or the index; or a torch file holds
            more than plain tensors.
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
        """A read-only view of a tensor in its storage dtype (BF16 as uint16), mapped from the file.

        Raises:
            InputFileError: the file has become shorter since its header was read.
        """
        info = self._tensors[name]
        dtype = STORAGE_DTYPES[info.dtype]
        if info.num_bytes == 0:
            return np.empty(info.shape, dtype)
        flat = np.frombuffer(self._mapped(info), dtype, info.num_bytes // dtype.itemsize, info.start)
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

    def _mapped(self, info: TensorInfo) -> mmap.mmap:
        content = self._maps.get(info.path)
        if content is None:
            with open_input(info.path) as file:
                if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
                    raise _shrunk(info)
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if info.start + info.num_bytes > len(content):
            raise _shrunk(info)
        self._maps[info.path] = content
        return content


def row_length(info: TensorInfo) -> int:
    """Elements in one row: all that lie behind one index of the first dimension."""
    return math.prod(info.shape[1:])


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
    with open_input(info.path) as file:
        _read_into(file.fileno(), rows, info, start)
    return rows


def gather_rows(info: TensorInfo, indices: NDArray[np.int64]) -> NDArray[Any]:
    """The rows of a tensor at `indices`, in that order, [len(indices), row length], in storage dtype.

    Raises:
        InputFileError: the file has become shorter since its header was read.
    """
    rows = np.empty((len(indices), row_length(info)), STORAGE_DTYPES[info.dtype])
    with open_input(info.path) as file:
        for row, index in zip(rows, indices.tolist(), strict=True):
            _read_into(file.fileno(), row, info, index)
    return rows


def _read_into(file: int, rows: NDArray[Any], info: TensorInfo, first_row: int) -> None:
    row_bytes = rows.shape[-1] * rows.itemsize
    buffer, offset = rows.reshape(-1).view(np.uint8).data, info.start + first_row * row_bytes
    while buffer:
        got = os.preadv(file, [buffer], offset)
        if got == 0:
            raise _shrunk(info)
        buffer, offset = buffer[got:], offset + got


def _shrunk(info: TensorInfo) -> InputFileError:
    return InputFileError(f"{info.path} ends within tensor {shown(info.name)}", hint="was it changed meanwhile?")


def _find_tensors(directory: Path) -> dict[str, TensorInfo]:
    for weights in _FORMATS:
        single, index = directory / weights.single_name, directory / weights.index_name
        # A directory or a broken link of that name is a fault to be told, not to be passed over.
        if os.path.lexists(single):
            found = weights.read(single)
        elif os.path.lexists(index):
            found = _read_shards(directory, index, weights)
        else:
            continue
        return _without_tied_head(directory, found) if weights.single_name == TORCH_SINGLE_NAME else found
    names = [name for weights in _FORMATS for name in (weights.single_name, weights.index_name)]
    raise InputFileError(
        f"{directory} has neither {', '.join(names[:-1])} nor {names[-1]}",
        hint="a checkpoint directory has config.json and weights",
    )


def _read_shards(directory: Path, index: Path, weights: _Format) -> dict[str, TensorInfo]:
    weight_map = _weight_map(index, weights.suffix)
    found: dict[str, TensorInfo] = {}
    for shard in dict.fromkeys(weight_map.values()):
        for name, info in weights.read(directory / shard).items():
            if name in found:
                raise InputFileError(f"tensor {shown(name)} is both in {found[name].path} and in {info.path}")
            if weight_map.get(name) != shard:
                raise InputFileError(f"{info.path} holds tensor {shown(name)}, which {index} does not place there")
            found[name] = info
    for name, shard in weight_map.items():
        if name not in found:
            raise InputFileError(f"{directory / shard} lacks tensor {shown(name)}, which {index} places there")
    return found


def _weight_map(index: Path, suffix: str) -> dict[str, str]:
    with open_input(index) as file:
        text = file.read(_MAX_INDEX_BYTES + 1)
    if len(text) > _MAX_INDEX_BYTES:
        raise InputFileError(f"{index} is longer than {_MAX_INDEX_BYTES} bytes", hint="is it an index?")
    weight_map = parse_object(index, text, "index").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise InputFileError(f"{index} has no weight_map from tensor names to file names")
    if not weight_map:
        raise InputFileError(f"{index} has an empty weight_map", hint="is the checkpoint whole?")
    kind = suffix.removeprefix(".")
    for file in set(weight_map.values()):
        if Path(file).name != file or "\\" in file or "\0" in file or not file.endswith(suffix) or not is_unicode(file):
            name = next(name for name in weight_map if weight_map[name] == file)
            raise InputFileError(
                f"{index} places tensor {shown(name)} in {shown(file)}, which is no {kind} file's name beside it"
            )
    return weight_map


def _without_tied_head(directory: Path, found: dict[str, TensorInfo]) -> dict[str, TensorInfo]:
    head, embedding = found.get(HEAD_NAME), found.get(EMBEDDING_NAME)
    if head is None or embedding is None or not (directory / CONFIG_NAME).is_file():
        return found
    if read_config(directory).get("tie_word_embeddings") is not True or not _same_content(head, embedding):
        return found
    return {name: info for name, info in found.items() if name != HEAD_NAME}


def _same_content(first: TensorInfo, second: TensorInfo) -> bool:
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    if (first.path, first.start) == (second.path, second.start):
        return True
    # Bytes, not values: a NaN is not equal to itself.
    pieces = zip(row_pieces(first), row_pieces(second), strict=True)
    return all(one.tobytes() == other.tobytes() for (_, one), (_, other) in pieces)
