"""The tensors of one file of `torch.save`: where each one lies in it, without reading a weight.

    PK local header   NAME/data.pkl        the dictionary: tensor name -> storage, offset, sizes, strides
    PK local header   NAME/byteorder       "little"
    PK local header   NAME/data/0, 1, …    the storages, not compressed, each as it is in memory
    zip directory                          name, place and size of all of these

The directory, the local headers and the pickle are checked first; then torch loads the dictionary by
`weights_only=True` onto its `meta` device, whose storages have no memory but know their place in the file.

Source: `torch/serialization.py` of torch 2.13 (`_save`, `_load`) and APPNOTE.TXT 6.3.10 of the zip format.
"""

from __future__ import annotations

import math
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from moyai.checkpoint.dtypes import STORAGE_DTYPES
from moyai.checkpoint.header import TensorInfo, fits_memory, is_unicode
from moyai.checkpoint.input_file import open_input, shown
from moyai.checkpoint.weights_pickle import check_weights_pickle
from moyai.errors import InputFileError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_MAGIC = b"PK\x03\x04"
_ENCRYPTED, _UTF8 = 0x1, 0x800
# A tensor takes about 200 bytes of it; unpickled it takes up to a hundred times its size.
_MAX_PICKLE_BYTES = 16_000_000
_MAX_REASON = 200

_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}

# Faults of a file that are found only while it is loaded come out of torch as any of these.
_LOADING_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
)

# First byte and number of bytes of what stands under a name of the zip directory.
_Places = dict[str, tuple[int, int]]


def read_torch_file(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a file that `torch.save` (1.6 or newer) wrote of a state dict, in order of their place.

    Nothing in it is executed.  Several names may have one place: tied weights.

    Raises:
        InputFileError: the file is missing or truncated, holds more than plain tensors, or one that is not
            contiguous or has no dtype of safetensors; or its parts contradict each other.
    """
    with open_input(path) as file:
        places = _stored_places(path, file)
        start, num_bytes = places["data.pkl"]
        if num_bytes > _MAX_PICKLE_BYTES:
            raise _bad(path, f"has a list of tensors of {num_bytes} bytes; at most {_MAX_PICKLE_BYTES} are read")
        check_weights_pickle(path, _content(file, start, num_bytes))
        start, num_bytes = places.get("byteorder", (0, 0))
        if num_bytes and (order := _content(file, start, min(num_bytes, 8))) != b"little":
            raise _bad(path, f"has the byte order {shown(order)}, and moyai reads little-endian weights only")
        state = _load(path, file)
    storages = {start: start + num_bytes for name, (start, num_bytes) in places.items() if name.startswith("data/")}
    found = [_tensor(path, name, value, storages) for name, value in dict.items(state)]
    found.sort(key=lambda info: info.start)
    return {info.name: info for info in found}


def _load(path: Path, file: BinaryIO) -> dict[str, Any]:
    import torch

    file.seek(0)
    try:
        state = torch.load(file, map_location="meta", weights_only=True)
    except _LOADING_ERRORS as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:_MAX_REASON].rstrip(" .")
        raise _bad(path, f"is not loaded by torch: {first_line}") from None
    assert isinstance(state, dict), type(state)
    return state


def _tensor(path: Path, name: str, value: Any, storages: Mapping[int, int]) -> TensorInfo:
    import torch

    if not is_unicode(name):
        raise _bad(path, f"has the tensor name {shown(name)}, which is not Unicode")
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        raise InputFileError(
            f"{path} holds a {type(value).__name__} under {shown(name)}, where a tensor should be",
            hint="take the state dict out of it, {tensor name: tensor}, and save that alone",
        )
    where = f"has tensor {shown(name)}"
    dtype, shape = _DTYPES.get(str(value.dtype).removeprefix("torch.")), tuple(value.shape)
    if dtype is None:
        raise _bad(path, f"{where} with dtype {value.dtype}; known are {', '.join(_DTYPES)}")
    if value.layout is not torch.strided or value.is_quantized or value.is_neg():
        raise _bad(path, f"{where}, which is sparse, quantised or negated, not plain")
    if not value.is_contiguous():
        raise InputFileError(
            f"{path} {where} not contiguous: its shape is {shown(shape)}, its strides are {shown(value.stride())}",
            hint="save it again after `.contiguous()`",
        )
    if not fits_memory(dtype, shape):
        raise _bad(path, f"{where} with shape {shown(shape)}, which is more than any memory has")
    item_bytes = STORAGE_DTYPES[dtype].itemsize
    storage_start: int = value.untyped_storage()._checkpoint_offset or 0
    start = storage_start + value.storage_offset() * item_bytes
    num_bytes = math.prod(shape) * item_bytes
    if start + num_bytes > storages.get(storage_start, -1):
        raise _bad(path, f"{where} in bytes {start} to {start + num_bytes}, which no storage in it has")
    return TensorInfo(name, dtype, shape, path, start, num_bytes)


def _stored_places(path: Path, file: BinaryIO) -> _Places:
    """Where the parts of the archive lie, by their name behind the archive's own."""
    if file.read(len(_LOCAL_MAGIC)) != _LOCAL_MAGIC:
        raise InputFileError(
            f"{path} is not of torch.save since 1.6: it does not begin like a zip archive",
            hint="save it again with a newer torch, or take safetensors",
        )
    try:
        with zipfile.ZipFile(file) as archive:
            entries, comment, end = archive.infolist(), archive.comment, archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError) as error:
        raise _bad(path, f"is truncated or no sound zip archive: {error}") from None
    spans = sorted(_span(path, file, entry) for entry in entries)
    if any(before[1] > after[0] for before, after in pairwise([*spans, (end, end, 0, "")])) or comment:
        raise _bad(path, "is a zip archive whose directory contradicts itself")
    places = {name.partition("/")[2]: (start, stop - start) for _, stop, start, name in spans}
    roots = {name.partition("/")[0] for *_, name in spans}
    # torch looks names up without regard to case.
    if len(roots) > 1 or len({name.casefold() for name in places}) < len(spans):
        raise _bad(path, "is a zip archive with the same name twice, or of more than one directory")
    if "constants.pkl" in places:
        raise _bad(path, "is a TorchScript program, not weights")
    if "data.pkl" not in places:
        raise _bad(path, "is a zip archive, but not of torch.save: it has no data.pkl")
    return places


def _span(path: Path, file: BinaryIO, entry: zipfile.ZipInfo) -> tuple[int, int, int, str]:
    """First byte of the local header, the byte after the content, first byte of the content, and name."""
    name = shown(entry.filename)
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise InputFileError(
            f"{path} holds {name} compressed; moyai reads weights where they lie",
            hint="save it again with torch.save, and do not pack it anew",
        )
    if entry.flag_bits & _ENCRYPTED:
        raise _bad(path, f"holds {name} encrypted")
    header = _content(file, entry.header_offset, _LOCAL_HEADER.size)
    magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header.ljust(_LOCAL_HEADER.size, b"\0"))
    start = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    local_name = _content(file, entry.header_offset + _LOCAL_HEADER.size, name_bytes)
    encoding = "utf-8" if entry.flag_bits & _UTF8 else "cp437"
    if magic != _LOCAL_MAGIC or local_name != entry.orig_filename.encode(encoding):
        raise _bad(path, f"has {name} in its directory, but not where the directory says")
    return entry.header_offset, start + entry.file_size, start, entry.filename


def _content(file: BinaryIO, start: int, num_bytes: int) -> bytes:
    return os.pread(file.fileno(), num_bytes, start)


def _bad(path: Path, what: str) -> InputFileError:
    return InputFileError(f"{path} {what}", hint="fetch or write the file again, or take safetensors")
