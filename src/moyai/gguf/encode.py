"""Checkpoint tensors as the bytes of a GGUF: piece by piece, on all cores, in order, in bounded memory.

Shape letters: R rows, C columns.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.dtypes import TORCH_NAMES, from_float32, to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.reader import read_rows, row_length
from moyai.errors import InputFileError
from moyai.gguf.quantise import quantised
from moyai.gguf.rotary_order import permuted
from moyai.gguf.tensor_types import StoredTensor, TensorType

# A piece is about this many numbers, and all pieces under way together no more than about so many, however
# many cores there are: 1 MB and 16 MB as float32.
_PIECE_ELEMENTS = 1 << 18
_ELEMENTS_UNDER_WAY = 1 << 22


def encoded_pieces(
    tensors: Sequence[StoredTensor], sources: Mapping[str, TensorInfo]
) -> Generator[memoryview | bytes]:
    """The bytes of all tensors with their padding, in order, in pieces of about a megabyte.

    Args:
        tensors: what to store, and how.
        sources: the checkpoint's tensors by name.

    Raises:
        InputFileError: a weight is not finite, not stored in 16 or 32 bits, or its file has become shorter.
        FailedError: a weight is beyond the range of the type that it is to be stored in.
    """
    under_way: deque[tuple[_Piece, Future[NDArray[Any]]]] = deque()
    num_elements = 0
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        for piece in _pieces(tensors, sources):
            under_way.append((piece, pool.submit(piece.encoded)))
            num_elements += piece.num_elements
            while num_elements > _ELEMENTS_UNDER_WAY:
                num_elements -= under_way[0][0].num_elements
                yield from _finished(*under_way.popleft())
        while under_way:
            yield from _finished(*under_way.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Piece:
    """Rows `start` to `stop` of a checkpoint tensor, and what follows them in the file."""

    source: TensorInfo
    start: int
    stop: int
    head_dim: int
    type: TensorType
    padding_bytes: int

    @property
    def num_elements(self) -> int:
        return (self.stop - self.start) * row_length(self.source)

    def encoded(self) -> NDArray[Any]:
        rows_RC = to_float32(read_rows(self.source, self.start, self.stop), self.source.dtype)
        if not np.isfinite(rows_RC).all():
            raise InputFileError(f"{self.source.path}: tensor {self.source.name!r} holds values that are not finite")
        ordered_RC = permuted(rows_RC, self.head_dim) if self.head_dim else rows_RC
        if self.type in TORCH_NAMES:
            return from_float32(ordered_RC, self.type)
        return quantised(ordered_RC, self.type)


def _pieces(tensors: Sequence[StoredTensor], sources: Mapping[str, TensorInfo]) -> Iterator[_Piece]:
    for tensor in tensors:
        head_dim, last = tensor.pair.head_dim, tensor.pair.checkpoint_names[-1]
        for name in tensor.pair.checkpoint_names:
            source = sources[name]
            num_rows, multiple = source.shape[0], head_dim or 1
            step = max(1, _PIECE_ELEMENTS // (row_length(source) * multiple)) * multiple
            for start in range(0, num_rows, step):
                stop = min(start + step, num_rows)
                padding = tensor.padding_bytes if name == last and stop == num_rows else 0
                yield _Piece(source, start, stop, head_dim, tensor.type, padding)


def _finished(piece: _Piece, encoded: Future[NDArray[Any]]) -> Iterator[memoryview | bytes]:
    yield encoded.result().data
    if piece.padding_bytes:
        yield bytes(piece.padding_bytes)
