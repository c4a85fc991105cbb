"""Token shards: documents of token ids in a `.bin` file, and where each begins in an `.idx` file.

The format is Megatron-LM's indexed dataset, as in megatron-core 0.16 (`core/datasets/indexed_dataset.py`); all numbers
are little-endian:

    NAME.bin    the ids of all documents one after the other: uint16, or int32
    NAME.idx    MMIDIDX 0 0 | version, uint64, 1 | kind of id, uint8 | sequences S, uint64 | boundaries D, uint64
                lengths, int32 [S] | offsets into NAME.bin in bytes, int64 [S] | first sequence of each document, int64 [D]

A document that we write is one sequence, so the last list counts from 0 to S.
"""

from __future__ import annotations

import hashlib
import os
import struct
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.disk import PARTIAL, finish_file
from moyai.checkpoint.input_file import open_input
from moyai.errors import InputFileError

INDEX_SUFFIX, TOKENS_SUFFIX = ".idx", ".bin"
SMALL_IDS = 1 << 16
"""A vocabulary of at most so many ids is stored in two bytes each."""

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_VERSION = 1
_DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
_BLOCK = 1 << 20


def token_dtype(num_ids: int) -> np.dtype[Any]:
    """How ids of a vocabulary of this size are stored.

    >>> token_dtype(32_000), token_dtype(99_574)
    (dtype('uint16'), dtype('int32'))
    """
    return np.dtype("<u2" if num_ids <= SMALL_IDS else "<i4")


@dataclass(frozen=True)
class IndexedDigest:
    """What a finished pair of files holds."""

    documents: int
    tokens: int
    bin_sha256: str
    idx_sha256: str


class IndexedWriter:
    """Writes one pair of files; they have their names, the `.idx` last, only when they are whole and on the disk.

    Memory grows by 4 bytes a document.
    """

    def __init__(self, prefix: Path, dtype: np.dtype[Any]) -> None:
        self._bin, self._idx = (prefix.with_name(prefix.name + suffix) for suffix in (TOKENS_SUFFIX, INDEX_SUFFIX))
        self.dtype = dtype
        self.num_bytes = 0
        self._lengths = array("i")
        self._sha256 = hashlib.sha256()
        self._file = self._partial(self._bin).open("wb")

    def add(self, tokens: NDArray[Any], lengths: NDArray[np.int32]) -> None:
        """Documents: their tokens one after the other, and how many each has."""
        assert tokens.dtype == self.dtype
        assert int(lengths.sum()) == len(tokens)
        content = np.ascontiguousarray(tokens).view(np.uint8).data
        self._file.write(content)
        self._sha256.update(content)
        self._lengths.frombytes(lengths.astype(np.intc).tobytes())
        self.num_bytes += tokens.nbytes

    def finish(self) -> IndexedDigest:
        """Flush, write the index, and give both files their names."""
        self._to_disk(self._file)
        lengths = np.frombuffer(self._lengths, dtype=np.intc)
        idx_sha256 = self._write_index(lengths)
        finish_file(self._partial(self._bin), self._bin)
        finish_file(self._partial(self._idx), self._idx)
        tokens = self.num_bytes // self.dtype.itemsize
        return IndexedDigest(len(lengths), tokens, self._sha256.hexdigest(), idx_sha256)

    def abandon(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._partial(self._bin).unlink(missing_ok=True)

    def _write_index(self, lengths: NDArray[Any]) -> str:
        digest = hashlib.sha256()
        (code,) = (code for code, name in _DTYPES.items() if np.dtype(name) == self.dtype)
        with self._partial(self._idx).open("wb") as file:

            def write(content: bytes) -> None:
                file.write(content)
                digest.update(content)

            write(_HEADER.pack(_MAGIC, _VERSION, code, len(lengths), len(lengths) + 1))
            for start in range(0, len(lengths), _BLOCK):
                write(lengths[start : start + _BLOCK].astype("<i4").tobytes())
            before = 0
            for start in range(0, len(lengths), _BLOCK):
                ends = np.cumsum(lengths[start : start + _BLOCK], dtype=np.int64) * self.dtype.itemsize + before
                write(np.concatenate([[before], ends[:-1]]).astype("<i8").tobytes())
                before = int(ends[-1])
            for start in range(0, len(lengths) + 1, _BLOCK):
                write(np.arange(start, min(start + _BLOCK, len(lengths) + 1), dtype="<i8").tobytes())
            self._to_disk(file, close=False)
        return digest.hexdigest()

    @staticmethod
    def _partial(path: Path) -> Path:
        return path.with_name(path.name + PARTIAL)

    @staticmethod
    def _to_disk(file: Any, *, close: bool = True) -> None:
        file.flush()
        os.fsync(file.fileno())
        if close:
            file.close()


@dataclass(frozen=True)
class IndexedFile:
    """One pair of files, mapped into memory: documents by number.  Everything in the index was checked."""

    prefix: Path
    tokens: NDArray[Any]
    _offsets: NDArray[np.int64]
    """[S] where each sequence begins, in bytes."""
    _documents: NDArray[np.int64]
    """[D] the first sequence of each document, and S."""

    @classmethod
    def open(cls, prefix: Path) -> Self:
        """Map `prefix`.bin and `prefix`.idx.

        Raises:
            InputFileError: a file is missing, is not of this format, or the two do not belong together.
        """
        idx, bin_ = (prefix.with_name(prefix.name + suffix) for suffix in (INDEX_SUFFIX, TOKENS_SUFFIX))
        with open_input(idx) as file:
            header = file.read(_HEADER.size)
            size = os.fstat(file.fileno()).st_size
        dtype, num_sequences, num_boundaries = _checked_header(idx, header, size)
        with open_input(bin_) as file:
            bin_bytes = os.fstat(file.fileno()).st_size
        parts = _mapped(idx, num_sequences, num_boundaries)
        _check_index(idx, *parts, bin_, bin_bytes, dtype.itemsize)
        tokens = np.memmap(bin_, dtype=dtype, mode="r") if bin_bytes else np.empty(0, dtype=dtype)
        return cls(prefix, np.asarray(tokens), parts[1], parts[2])

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents."""
        return len(self.tokens)

    def __len__(self) -> int:
        return len(self._documents) - 1

    def __getitem__(self, document: int) -> NDArray[Any]:
        """The ids of a document, all its sequences one after the other: a view into the file."""
        if not 0 <= document < len(self):
            raise IndexError(document)
        return self.tokens[self._place(int(self._documents[document])) : self._place(int(self._documents[document + 1]))]

    def _place(self, sequence: int) -> int:
        return int(self._offsets[sequence]) // self.tokens.itemsize if sequence < len(self._offsets) else len(self.tokens)


def _checked_header(path: Path, header: bytes, size: int) -> tuple[np.dtype[Any], int, int]:
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        raise InputFileError(f"{path} is not an index of token shards", hint="it would begin with MMIDIDX")
    _, version, code, num_sequences, num_boundaries = _HEADER.unpack(header)
    if version != _VERSION:
        raise InputFileError(f"{path} is of version {version}; moyai reads version {_VERSION}")
    if code not in _DTYPES:
        raise InputFileError(f"{path} has tokens of kind {code}; moyai reads whole numbers, kinds {[*_DTYPES]}")
    expected = _HEADER.size + 12 * num_sequences + 8 * num_boundaries
    if size != expected:
        raise InputFileError(
            f"{path} has {size} bytes, and {num_sequences} sequences with {num_boundaries} boundaries take {expected}",
            hint="copy it again; an index with modes of sequences is not read",
        )
    if num_boundaries == 0:
        raise InputFileError(f"{path} has no boundaries of documents")
    return np.dtype(_DTYPES[code]), num_sequences, num_boundaries


def _mapped(path: Path, num_sequences: int, num_boundaries: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Lengths, offsets and boundaries."""
    whole = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    parts, start = [], _HEADER.size
    for name, count in (("<i4", num_sequences), ("<i8", num_sequences), ("<i8", num_boundaries)):
        dtype = np.dtype(name)
        parts.append(whole[start : start + count * dtype.itemsize].view(dtype))
        start += count * dtype.itemsize
    return parts[0], parts[1], parts[2]


def _check_index(
    path: Path,
    lengths: NDArray[Any],
    offsets: NDArray[Any],
    boundaries: NDArray[Any],
    bin_: Path,
    bin_bytes: int,
    id_bytes: int,
) -> None:
    """The sequences follow one another from the first byte of the `.bin` file to its last, the documents likewise."""
    before = 0
    for start in range(0, len(lengths), _BLOCK):
        block = lengths[start : start + _BLOCK].astype(np.int64)
        ends = np.cumsum(block) * id_bytes + before
        wrong = (block < 0) | (ends - block * id_bytes != offsets[start : start + _BLOCK])
        if wrong.any():
            number = start + int(wrong.argmax())
            raise InputFileError(f"{path} is damaged: sequence {number} is not where the one before it ends")
        before = int(ends[-1])
        if before > bin_bytes:
            break
    if before != bin_bytes:
        says = "more" if before > bin_bytes else before
        raise InputFileError(f"{bin_} has {bin_bytes} bytes, and by its index it has {says}", hint="copy it again")
    if boundaries[0] != 0 or boundaries[-1] != len(lengths):
        raise InputFileError(f"{path} is damaged: its documents do not reach from the first sequence to the last")
    for start in range(0, len(boundaries), _BLOCK):
        block = boundaries[start : start + _BLOCK + 1]
        if (np.diff(block) < 0).any():
            raise InputFileError(f"{path} is damaged: a document begins before the one in front of it")
