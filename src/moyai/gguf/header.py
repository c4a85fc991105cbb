"""The front part of a GGUF file: metadata and the table of tensors, read with distrust.

The `gguf` library's reader loops as often as the file says and slices past its end without complaint, so a
damaged count costs all memory before anything is raised.  This reader checks every length against the size of
the file first; the library supplies the types and block sizes.

Source: `docs/gguf.md` of ggml (file structure, version 3) and `gguf-py/gguf/constants.py` of llama.cpp.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from moyai.checkpoint.input_file import open_input, shown
from moyai.errors import InputFileError

_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
# The largest vocabularies have 262,144 tokens and half a million merges, and take 15 MB.  A damaged length may be
# that of the file, which is mostly weights, and a byte of an array takes 16 bytes as Python numbers.
_MAX_HEADER_BYTES = 100_000_000
_MAX_ARRAY_LENGTH = 4_000_000
_HINT = "fetch or convert the file again"

# struct code of each scalar value type
_SCALARS: dict[int, str] = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}


@dataclass(frozen=True)
class GgufTensor:
    """Where one tensor lies in the file; `shape` is row-major, as numpy and safetensors have it."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    start: int
    num_bytes: int

    @property
    def num_elements(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, that is of `shape[-1]` numbers."""
        return self.num_bytes // (self.num_elements // self.shape[-1])


@dataclass(frozen=True)
class GgufHeader:
    """Metadata and tensors of one GGUF file, all of them within the file's bounds."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]


def read_header(path: Path) -> GgufHeader:
    """The metadata and the table of tensors of a GGUF file; no tensor is read.

    Raises:
        InputFileError: there is no such file, it is no GGUF, it is cut off, or its table contradicts itself.
    """
    with open_input(path) as file:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes < 24:
            raise InputFileError(f"{path} is not a GGUF file: it has only {num_bytes} bytes", hint=_HINT)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Cursor(path, content).header()


class _Cursor:
    """Reads values one after the other and never past the end."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path = path
        self.content = content
        self.num_bytes = len(content)
        self.position = 0

    def fault(self, what: str) -> InputFileError:
        return InputFileError(f"GGUF file {self.path} is damaged: {what}", hint=_HINT)

    def header(self) -> GgufHeader:
        magic = self.take(4)
        if magic != b"GGUF":
            raise InputFileError(f"{self.path} is not a GGUF file: it begins with {magic!r}", hint=_HINT)
        version = self.number("I")
        if version not in _VERSIONS:
            known = " and ".join(map(str, _VERSIONS))
            raise InputFileError(f"{self.path} is GGUF version {version}; versions {known} are known")
        num_tensors, num_keys = self.number("Q"), self.number("Q")
        metadata = self.metadata(num_keys)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self.fault(f"general.alignment is {shown(alignment)}, not a power of two")
        entries = self.tensor_entries(num_tensors)
        data_start = -(-self.position // alignment) * alignment
        tensors = {name: self.tensor(name, *entry, data_start) for name, entry in entries.items()}
        self.check_overlap(list(tensors.values()))
        return GgufHeader(self.path, metadata, tensors)

    def take(self, count: int) -> bytes:
        if count > self.num_bytes - self.position:
            raise self.fault(f"it ends at byte {self.num_bytes}, in the middle of its header")
        if self.position + count > _MAX_HEADER_BYTES:
            raise self.fault(f"its header does not end within {_MAX_HEADER_BYTES} bytes")
        self.position += count
        return self.content[self.position - count : self.position]

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def text(self) -> str:
        start, raw = self.position, self.take(self.number("Q"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fault(f"the text at byte {start} is not UTF-8") from None

    def metadata(self, num_keys: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(num_keys):
            key = self.text()
            if key in metadata:
                raise self.fault(f"the key {shown(key)} stands twice")
            metadata[key] = self.value(self.number("I"), key)
        return metadata

    def value(self, kind: int, key: str) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == GGUFValueType.STRING:
            return self.text()
        if kind == GGUFValueType.ARRAY:
            return self.array(self.number("I"), self.number("Q"), key)
        raise self.fault(f"the key {shown(key)} has the unknown value type {kind}")

    def array(self, kind: int, count: int, key: str) -> list[Any]:
        if count > _MAX_ARRAY_LENGTH:
            raise self.fault(f"the array {shown(key)} has {count} values; at most {_MAX_ARRAY_LENGTH} are read")
        if kind in _SCALARS:
            size = struct.calcsize("<" + _SCALARS[kind])
            return list(struct.unpack(f"<{count}{_SCALARS[kind]}", self.take(count * size)))
        if kind == GGUFValueType.STRING:
            if count * 8 > self.num_bytes - self.position:
                raise self.fault(f"it ends at byte {self.num_bytes}, in the middle of {shown(key)}")
            return [self.text() for _ in range(count)]
        raise self.fault(f"the array {shown(key)} has the unknown value type {kind}")

    def tensor_entries(self, count: int) -> dict[str, tuple[tuple[int, ...], int, int]]:
        entries: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(count):
            name, num_dimensions = self.text(), self.number("I")
            if name in entries:
                raise self.fault(f"the tensor {shown(name)} stands twice")
            if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
                raise self.fault(f"the tensor {shown(name)} has {num_dimensions} dimensions")
            shape = tuple(reversed([self.number("Q") for _ in range(num_dimensions)]))
            entries[name] = (shape, self.number("I"), self.number("Q"))
        return entries

    def tensor(
        self, name: str, shape: tuple[int, ...], kind: int, offset: int, data_start: int
    ) -> GgufTensor:
        try:
            quantisation = GGMLQuantizationType(kind)
        except ValueError:
            raise InputFileError(
                f"{self.path}: the tensor {shown(name)} has the unknown quantisation {kind}",
                hint="the file may be newer than the installed gguf package",
            ) from None
        block, block_bytes = GGML_QUANT_SIZES[quantisation]
        if min(shape) < 1 or shape[-1] % block:
            raise self.fault(f"the tensor {shown(name)} has shape {shape}, which {quantisation.name} cannot hold")
        num_bytes = math.prod(shape) // block * block_bytes
        start = data_start + offset
        if start + num_bytes > self.num_bytes:
            raise self.fault(
                f"the tensor {shown(name)} ends at byte {start + num_bytes}, the file at byte {self.num_bytes}"
            )
        return GgufTensor(name, quantisation, shape, start, num_bytes)

    def check_overlap(self, tensors: list[GgufTensor]) -> None:
        tensors.sort(key=lambda tensor: tensor.start)
        for before, after in pairwise(tensors):
            if before.start + before.num_bytes > after.start:
                raise self.fault(f"the tensors {shown(before.name)} and {shown(after.name)} overlap")
