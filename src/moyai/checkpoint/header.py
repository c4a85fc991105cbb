"""The header of one safetensors file: read with distrust, written in one canonical form.

    8 bytes   length of the header, little-endian
    header    JSON: tensor name -> {dtype, shape, data_offsets: [start, end]}, padded with spaces
    data      the tensors, row-major, without gaps

Source: the format section of the safetensors README; we also ask for what its Rust reader asks for.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moyai.checkpoint.dtypes import STORAGE_DTYPES
from moyai.checkpoint.input_file import open_input, shown
from moyai.errors import InputFileError

# The Rust reader refuses longer headers too.
_MAX_HEADER_BYTES = 100_000_000
_ALIGNMENT_BYTES = 64
# numpy has arrays of no more dimensions, and offsets of no more bits.
_MAX_DIMENSIONS = 64
_MAX_SIZE = 2**63 - 1

# The members of the header's object: a name, what stands for a tensor (64 sizes of 19 digits at most), what is next.
_METADATA_NAME = "__metadata__"
_MAX_METADATA_CHARACTERS = 10_000_000
_EMPTY = re.compile(r"[{][ \t\n\r]*+[}][ \t\n\r]*+")
_NAME = re.compile(r'[ \t\n\r]*+("(?:[^"\\]++|\\.)*+")[ \t\n\r]*+:[ \t\n\r]*+')
_ENTRY = re.compile(r"[{][^{}]{0,4000}+[}]")
_NEXT = re.compile(r"[ \t\n\r]*+(,|[}][ \t\n\r]*+\Z)")


@dataclass(frozen=True, slots=True)
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


def fits_memory(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether numpy has arrays of that shape: at most 64 dimensions and 2⁶³ bytes, sizes of 0 not counted."""
    if len(shape) > _MAX_DIMENSIONS:
        return False
    return math.prod(size for size in shape if size) * STORAGE_DTYPES[dtype].itemsize <= _MAX_SIZE


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file, in order of their place in it.

    Raises:
        InputFileError: the file is missing, truncated, or its header contradicts itself or the file's size.
    """
    with open_input(path) as file:
        file_bytes = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(8), "little")
        if file_bytes < 8 or header_bytes > min(file_bytes - 8, _MAX_HEADER_BYTES):
            raise _bad(path, f"is truncated or no safetensors file: {_reach(header_bytes, file_bytes)}")
        text = _decoded(path, file.read(header_bytes), "header")
    if not text.startswith("{"):
        raise _bad(path, "is no safetensors file: its header does not begin with '{'")
    data_start = 8 + header_bytes
    found: dict[str, TensorInfo] = {}
    for name, entry in _members(path, text):
        if name in found:
            raise _bad(path, f"names {shown(name)} twice in its header")
        found[name] = _tensor(path, name, entry, data_start, file_bytes)
    ordered = sorted(found.values(), key=lambda info: (info.start, info.num_bytes))
    _check_gapless(path, ordered, data_start, file_bytes)
    return {info.name: info for info in ordered}


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
    data = _parse(path, _decoded(path, text, what), what)
    if not isinstance(data, dict):
        raise _bad(path, f"has a {what} that is not a JSON object")
    return data


def _decoded(path: Path, text: bytes, what: str) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad(path, f"has a {what} that is not JSON: {error}") from None


def _parse(path: Path, text: str, what: str) -> Any:
    """JSON without the liberties that Python takes: no key twice, no half of a surrogate pair, no NaN."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                raise _bad(path, f"names {shown(key)} twice in its {what}")
            if not is_unicode(key):
                raise _bad(path, f"has the key {shown(key)} in its {what}, which is not Unicode")
            made[key] = value
        return made

    def constant(name: str) -> None:
        raise _bad(path, f"has a {what} that is not JSON: it holds {name}")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise _bad(path, f"has a {what} that is not JSON: {error}") from None
    except RecursionError:
        raise _bad(path, f"has a {what} that is nested too deeply") from None
    except ValueError:  # Python's limit on digits
        raise _bad(path, f"has a {what} that holds a number of thousands of digits") from None


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it: JSON and pickles can spell halves of surrogate pairs, which it cannot.

    >>> is_unicode("舫い"), is_unicode(chr(0xD83D))
    (True, False)
    """
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _members(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Name and parsed value of each tensor, one at a time: parsed at once, a header takes 15 times its size."""
    if _EMPTY.fullmatch(text):
        return
    position, has_metadata = 1, False
    while True:
        name = _NAME.match(text, position)
        if name is None:
            raise _bad(path, f"has a header that is not JSON: no name stands at character {position}")
        key = _parse(path, f"{{{name[1]}:0}}", "header").popitem()[0]
        if key == _METADATA_NAME:
            if has_metadata:
                raise _bad(path, f"names {key!r} twice in its header")
            position, has_metadata = _skip_metadata(path, text, name.end()), True
        else:
            entry = _ENTRY.match(text, name.end())
            if entry is None:
                raise _bad(path, f"describes tensor {shown(key)} by something that is not a plain JSON object")
            yield key, _parse(path, entry[0], f"description of tensor {shown(key)}")
            position = entry.end()
        after = _NEXT.match(text, position)
        if after is None:
            raise _bad(path, f"has a header that is not JSON: it breaks off at character {position}")
        if after[1] != ",":
            return
        position = after.end()


def _skip_metadata(path: Path, text: str, start: int) -> int:
    """The character after the free texts that a header may carry; they are checked and not kept."""
    try:
        metadata, length = json.JSONDecoder().raw_decode(text[start : start + _MAX_METADATA_CHARACTERS])
    except (ValueError, RecursionError):
        raise _bad(path, f"has a {_METADATA_NAME} that is not JSON") from None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _bad(path, f"has a {_METADATA_NAME} that is not a mapping of strings")
    return start + length


def _tensor(path: Path, name: str, entry: Any, data_start: int, file_bytes: int) -> TensorInfo:
    where = f"has tensor {shown(name)}"
    if set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(path, f"describes tensor {shown(name)} by other keys than dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORAGE_DTYPES:
        known = ", ".join(STORAGE_DTYPES)
        raise _bad(path, f"{where} with unknown dtype {shown(dtype)}; known are {known}")
    if not _is_counts(shape):
        raise _bad(path, f"{where} with shape {shown(shape)}, which is not a list of sizes")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _bad(path, f"{where} with data_offsets {shown(offsets)}, which are not [start, end]")
    start, end = offsets
    if data_start + end > file_bytes:
        reach = f"tensor {shown(name)} ends at byte {data_start + end}, the file at {file_bytes}"
        raise _bad(path, f"is truncated: {reach}")
    if not fits_memory(dtype, tuple(shape)):
        raise _bad(path, f"{where} with shape {shown(shape)}, which is more than any memory has")
    wanted = tensor_bytes(dtype, tuple(shape))
    if end - start != wanted:
        raise _bad(path, f"{where} in {end - start} bytes, but {dtype} {shown(shape)} takes {wanted}")
    return TensorInfo(name, dtype, tuple(shape), path, data_start + start, end - start)


def _check_gapless(path: Path, found: list[TensorInfo], data_start: int, file_bytes: int) -> None:
    reached = data_start
    for info in found:
        if info.start < reached:
            raise _bad(path, f"has tensor {shown(info.name)} overlapping another one at byte {info.start}")
        if info.start > reached:
            raise _bad(path, f"has a hole of {info.start - reached} bytes before tensor {shown(info.name)}")
        reached = info.start + info.num_bytes
    if reached != file_bytes:
        raise _bad(path, f"has {file_bytes - reached} bytes after its last tensor")


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= _MAX_SIZE for item in value)


def _reach(header_bytes: int, file_bytes: int) -> str:
    if file_bytes < 8:
        return f"it has {file_bytes} bytes"
    return f"its header would take {header_bytes} of its {file_bytes} bytes"


def _bad(path: Path, what: str) -> InputFileError:
    return InputFileError(f"{path} {what}", hint="fetch or write the file again")
