"""Quantising with ggml's own code, so that every byte is as llama.cpp's quantiser writes it.

The shared library inside the `xllamacpp` wheel exports ggml's C functions; it is loaded without importing the
package.  The `gguf` library has no K-quants, and is slower where it has a type.

Source: `ggml/include/ggml.h` of llama.cpp (`ggml_quantize_chunk`, `ggml_row_size`, `ggml_validate_row_data`).

Shape letters: R rows, C columns, B bytes of a row.
"""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from moyai.errors import FailedError
from moyai.gguf.tensor_types import BLOCKS, TensorType

_HINT = "install a version of xllamacpp that moyai was tested with: constraints.txt names it"

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_row_size": (ctypes.c_size_t, [ctypes.c_int, ctypes.c_int64]),
    "ggml_validate_row_data": (ctypes.c_bool, [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]),
    # type, source, target, first number, rows, columns, importance of the columns
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p],
    ),
}


def quantised(rows_RC: NDArray[np.float32], type: TensorType) -> NDArray[np.uint8]:
    """Rows of finite float32 in blocks of a quantised type, [R, B]; may be called from several threads at once.

    Rows are quantised one by one, so the bytes do not depend on how a tensor is cut.

    Args:
        rows_RC: C is a whole number of blocks.
        type: one of the quantised types, `Q8_0` to `Q6_K`.

    Raises:
        FailedError: a weight is beyond the range of the type, or the library is not there or has changed.
    """
    num_rows, num_columns = rows_RC.shape
    block, block_bytes = BLOCKS[type]
    assert num_columns % block == 0, (num_columns, type)
    library, number = _library(), GGMLQuantizationType[type].value
    source_RC = np.ascontiguousarray(rows_RC, dtype=np.float32)
    blocks_RB = np.empty((num_rows, num_columns // block * block_bytes), np.uint8)
    if library.ggml_row_size(number, num_columns) != blocks_RB.shape[1]:
        raise FailedError(f"ggml in the installed xllamacpp stores {type} otherwise", hint=_HINT)
    library.ggml_quantize_chunk(
        number, source_RC.ctypes.data, blocks_RB.ctypes.data, 0, num_rows, num_columns, None
    )
    if not library.ggml_validate_row_data(number, blocks_RB.ctypes.data, blocks_RB.nbytes):
        raise FailedError(f"a weight is beyond the range of {type}", hint="export it as f32 or bf16")
    return blocks_RB


@functools.cache
def _library() -> ctypes.CDLL:
    """The shared library of xllamacpp, its functions declared."""
    path = _library_path()
    try:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except OSError as error:
        raise FailedError(f"{path} cannot be loaded: {error}", hint=_HINT) from None
    except AttributeError as error:
        raise FailedError(f"{path} cannot quantise: {error}", hint=_HINT) from None
    return library


def _library_path() -> str:
    package = find_spec("xllamacpp")
    extension = package and PathFinder.find_spec("xllamacpp.xllamacpp", package.submodule_search_locations)
    if not extension or not extension.origin:
        raise FailedError("quantising needs the package xllamacpp, which is not installed", hint=_HINT)
    return extension.origin
