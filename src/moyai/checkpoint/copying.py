"""Tensors that are another tensor's bytes, or its values times a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import from_float32, to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import row_pieces


def copied(name: str, source: TensorInfo, origin: str = "") -> PlannedTensor:
    """A tensor called `name` with the bytes of `source`; `origin` says where that is from."""
    return PlannedTensor(name, source.dtype, source.shape, origin or f"copy of {source.name}", source)


def converted(
    name: str, source: TensorInfo, *, factor: float = 1.0, dtype: str = "", origin: str = ""
) -> PlannedTensor:
    """A tensor called `name` with the values of `source` times `factor`, rounded once to `dtype`.

    A plain copy where neither changes anything.  A factor that is a power of two is exact, but for values that
    leave the dtype's range.

    Args:
        name: of the new tensor.
        source: F32, F16 or BF16.
        factor: what each value is multiplied with, in float32.
        dtype: F32, F16 or BF16; default: the source's.
        origin: what is said of the tensor; default: its source and what is done to it.
    """
    dtype = dtype or source.dtype
    if factor == 1.0 and dtype == source.dtype:
        return copied(name, source, origin)

    def generate() -> Iterator[NDArray[Any]]:
        for _, rows in row_pieces(source):
            values = to_float32(rows, source.dtype)
            yield from_float32(values * np.float32(factor) if factor != 1.0 else values, dtype)

    changes = [f"times {factor:g}"] * (factor != 1.0) + [f"as {dtype}"] * (dtype != source.dtype)
    told = f"{origin or f'copy of {source.name}'}, {', '.join(changes)}"
    return PlannedTensor(name, dtype, source.shape, told, generate, (source,))


def rows_of(source: TensorInfo, start: int, stop: int) -> TensorInfo:
    """Rows `start` to `stop` of a tensor as a tensor of their own: the same bytes, nothing is read."""
    assert 0 <= start <= stop <= source.shape[0], f"{source.name} has {source.shape[0]} rows, not {start} to {stop}"
    row_bytes = source.num_bytes // source.shape[0]
    return TensorInfo(
        name=f"{source.name}[{start}:{stop}]",
        dtype=source.dtype,
        shape=(stop - start, *source.shape[1:]),
        path=source.path,
        start=source.start + start * row_bytes,
        num_bytes=(stop - start) * row_bytes,
    )
