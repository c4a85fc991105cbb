"""Storage dtypes of safetensors, and how float32 gets in and out of the 16-bit ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.errors import FailedError, InputFileError

# numpy has no bfloat16 and no 8-bit floats: those are kept as unsigned integers of the same size.
STORAGE_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F8_E4M3": np.dtype("u1"),
    "F8_E5M2": np.dtype("u1"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}

# The dtypes in which moyai computes with weights, by their name in torch and in config.json.
TORCH_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

_BFLOAT16_NAN = np.uint16(0x7FC0)


def to_float32(stored: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """The values of an array in storage form, any shape, as float32; F32 comes back as it is.

    Raises:
        InputFileError: `dtype` is none of F32, F16, BF16.
    """
    if dtype == "BF16":
        wide = stored.astype(np.uint32)
        wide <<= np.uint32(16)
        return wide.view(np.float32)
    if dtype in TORCH_NAMES:
        return stored.astype(np.float32, copy=False)
    raise InputFileError(
        f"weights are stored as {dtype}; moyai computes with {', '.join(TORCH_NAMES)}",
        hint="convert the checkpoint to bfloat16 first",
    )


def from_float32(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """float32 values, any shape, in storage form, rounded to nearest with ties to even as torch does.

    A NaN stays a NaN, but becomes the quiet one 0x7FC0 in BF16.

    Raises:
        FailedError: a finite value is beyond float16's range.
    """
    if dtype == "BF16":
        return _bfloat16(values)
    assert dtype in TORCH_NAMES, dtype
    try:
        with np.errstate(over="raise"):
            return values.astype(STORAGE_DTYPES[dtype], copy=False)
    except FloatingPointError:
        raise FailedError(
            "a weight is beyond the range of float16 (65504)",
            hint="start from a bfloat16 or float32 checkpoint",
        ) from None


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded >>= np.uint32(16)
    stored = rounded.astype(np.uint16)
    stored[np.isnan(values)] = _BFLOAT16_NAN
    return stored
