"""The header of one safetensors file: read with distrust, written in one canonical form.

    8 bytes   length of the header, little-endian
    header    JSON: tensor name -> {dtype, shape, data_offsets: [start, end]}, padded with spaces
    data      the tensors, row-major, without gaps

Source: the format section of the safetensors README; we also ask for what its Rust reader asks for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moyai.checkpoint.dtypes import STORAGE_DTYPES
from moyai.errors import InputFileError

# The Rust reader refuses longer headers too.
_MAX_HEADER_BYTES = 100_000_000
_ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: `num_bytes` from byte `start` of the file `path`, row-major."""

    name: str
    dtype: str
    """`F32`, `F16`, `BF16`, ...: a key of `STORAGE_DTYPES`."""
    shape: tuple[int, ...]
    path: Path
    start: int
    num_bytes: int


def tensor_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Size of a tensor's data."""
    return math.prod(shape) * STORAGE_DTYPES[dtype].itemsize


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file, in order of their place in it.

    Raises:
        InputFileError: the file is missing, truncated, or its header contradicts itself or the file's size.
    """
    try:
        with path.open("rb") as file:
            file_bytes = path.stat().st_size
            header_bytes = int.from_bytes(file.read(8), "little")
            if file_bytes < 8 or header_bytes > min(file_bytes - 8, _MAX_HEADER_BYTES):
                raise _bad(path, f"is truncated or no safetensors file: {_reach(header_bytes, file_bytes)}")
            text = file.read(header_bytes)
    except FileNotFoundError:
        raise _bad(path, "does not exist") from None
    except IsADirectoryError:
        raise _bad(path, "is a directory, not a safetensors file") from None
    entries = _json_object(path, text)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _bad(path, "has a __metadata__ that is not a mapping of strings")
    data_start = 8 + header_bytes
    found = [_tensor(path, name, entry, data_start, file_bytes) for name, entry in entries.items()]
    found.sort(key=lambda info: (info.start, info.num_bytes))
    _check_gapless(path, found, data_start, file_bytes)
    return {info.name: info for info in found}


def header_bytes(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """Length field and JSON of a file that holds `(name, dtype, shape)` tensors in this order.

    Padded with spaces, so that the data begins at a multiple of 64 bytes.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dtype, shape in tensors:
        start, end = end, end + tensor_bytes(dtype, shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT_BYTES)
    return len(text).to_bytes(8, "little") + text


def parse_object(path: Path, text: bytes, what: str) -> dict[str, Any]:
    """A JSON object in which no key stands twice; `what` names it in messages.

    Raises:
        InputFileError: it is not one.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
            raise _bad(path, f"names {twice!r} twice in its {what}")
        return made

    try:
        data = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"has a {what} that is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise _bad(path, f"has a {what} that is not a JSON object")
    return data


def _json_object(path: Path, text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _bad(path, "is no safetensors file: its header does not begin with '{'")
    return parse_object(path, text, "header")


def _tensor(path: Path, name: str, entry: Any, data_start: int, file_bytes: int) -> TensorInfo:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(path, f"describes tensor {name!r} by other keys than dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORAGE_DTYPES:
        raise _bad(
            path, f"has tensor {name!r} with unknown dtype {dtype!r}; known are {', '.join(STORAGE_DTYPES)}"
        )
    if not _is_counts(shape):
        raise _bad(path, f"has tensor {name!r} with shape {shape!r}, which is not a list of sizes")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _bad(path, f"has tensor {name!r} with data_offsets {offsets!r}, which are not [start, end]")
    start, end = offsets
    if data_start + end > file_bytes:
        raise _bad(
            path, f"is truncated: tensor {name!r} ends at byte {data_start + end}, the file at {file_bytes}"
        )
    wanted = tensor_bytes(dtype, tuple(shape))
    if end - start != wanted:
        raise _bad(path, f"has tensor {name!r} in {end - start} bytes, but {dtype} {shape} takes {wanted}")
    return TensorInfo(name, dtype, tuple(shape), path, data_start + start, end - start)


def _check_gapless(path: Path, found: list[TensorInfo], data_start: int, file_bytes: int) -> None:
    reached = data_start
    for info in found:
        if info.start < reached:
            raise _bad(path, f"has tensor {info.name!r} overlapping another one at byte {info.start}")
        if info.start > reached:
            raise _bad(path, f"has a hole of {info.start - reached} bytes before tensor {info.name!r}")
        reached = info.start + info.num_bytes
    if reached != file_bytes:
        raise _bad(path, f"has {file_bytes - reached} bytes after its last tensor")


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _reach(header_bytes: int, file_bytes: int) -> str:
    if file_bytes < 8:
        return f"it has {file_bytes} bytes"
    return f"its header would take {header_bytes} of its {file_bytes} bytes"


def _bad(path: Path, what: str) -> InputFileError:
    return InputFileError(f"{path} {what}", hint="fetch or write the file again")
