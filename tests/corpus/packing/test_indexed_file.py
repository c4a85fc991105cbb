"""Token shards: what is written is read, Megatron's layout byte for byte, and damaged files are told, never read."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.packing.indexed_file import IndexedFile, IndexedWriter, token_dtype
from moyai.errors import InputFileError

DOCUMENTS = [[1, 70, 65_535, 2], [5], [], [9, 8, 7]]


def write(prefix: Path, documents: list[list[int]], dtype: str = "<u2", blocks: int = 1) -> Any:
    writer = IndexedWriter(prefix, np.dtype(dtype))
    for start in range(0, len(documents), max(1, len(documents) // blocks)):
        block = documents[start : start + max(1, len(documents) // blocks)]
        lengths = np.array([len(document) for document in block], dtype=np.int32)
        writer.add(np.array([id_ for document in block for id_ in document], dtype=dtype), lengths)
    return writer.finish()


def as_megatron_reads(prefix: Path) -> tuple[str, list[list[int]], list[int]]:
    """Kind of id, sequences and boundaries, read the way megatron-core 0.16.1 does, nothing checked."""
    idx, tokens = prefix.with_suffix(".idx").read_bytes(), prefix.with_suffix(".bin").read_bytes()
    assert idx[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, boundaries = struct.unpack_from("<QBQQ", idx, 9)
    assert version == 1
    dtype = np.dtype({4: np.int32, 8: np.uint16}[code])
    lengths = np.frombuffer(idx, np.int32, sequences, 34)
    offsets = np.frombuffer(idx, np.int64, sequences, 34 + lengths.nbytes)
    documents = np.frombuffer(idx, np.int64, boundaries, 34 + lengths.nbytes + offsets.nbytes)
    found = [np.frombuffer(tokens, dtype, n, o).tolist() for n, o in zip(lengths, offsets, strict=True)]
    return dtype.name, found, documents.tolist()


@settings(max_examples=50, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 65_535), max_size=6), max_size=12),
    dtype=st.sampled_from(["<u2", "<i4"]),
    blocks=st.integers(1, 4),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], dtype: str, blocks: int
) -> None:
    prefix = tmp_path_factory.mktemp("shard") / "00000"
    digest = write(prefix, documents, dtype, blocks)
    file = IndexedFile.open(prefix)
    assert [file[number].tolist() for number in range(len(file))] == documents
    assert (digest.documents, digest.tokens) == (len(file), file.num_tokens) == (len(documents), sum(map(len, documents)))
    name = {"<u2": "uint16", "<i4": "int32"}[dtype]
    assert as_megatron_reads(prefix) == (name, documents, list(range(len(documents) + 1)))
    for suffix, expected in ((".bin", digest.bin_sha256), (".idx", digest.idx_sha256)):
        assert hashlib.sha256(prefix.with_suffix(suffix).read_bytes()).hexdigest() == expected
    assert sorted(path.name for path in prefix.parent.iterdir()) == ["00000.bin", "00000.idx"]


# Written by IndexedDatasetBuilder of megatron-core 0.16.1: documents of the sequences ([5, 6, 7], [8]) and ([9, 65535],).
MEGATRON_IDX = bytes.fromhex(
    "4d4d494449445800000100000000000000080300000000000000030000000000000003000000010000000200000000000000"
    "0000000006000000000000000800000000000000000000000000000002000000000000000300000000000000"
)
MEGATRON_BIN = bytes.fromhex("05000600070008000900ffff")


def test_a_file_that_megatron_wrote(tmp_path: Path) -> None:
    (tmp_path / "theirs.idx").write_bytes(MEGATRON_IDX)
    (tmp_path / "theirs.bin").write_bytes(MEGATRON_BIN)
    file = IndexedFile.open(tmp_path / "theirs")
    assert [file[number].tolist() for number in range(len(file))] == [[5, 6, 7, 8], [9, 65_535]]
    # and ours of the same sequences is the same but for the boundaries: with us each sequence is a document
    write(tmp_path / "ours", [[5, 6, 7], [8], [9, 65_535]])
    assert (tmp_path / "ours.bin").read_bytes() == MEGATRON_BIN
    ours = (tmp_path / "ours.idx").read_bytes()
    assert ours[:26] == MEGATRON_IDX[:26]
    assert ours[34:70] == MEGATRON_IDX[34:70]


def test_the_index_is_made_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [[number] * (number % 4) for number in range(50)]
    write(tmp_path / "whole", documents)
    monkeypatch.setattr("moyai.corpus.packing.indexed_file._BLOCK", 7)
    write(tmp_path / "blocks", documents)
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"whole{suffix}").read_bytes() == (tmp_path / f"blocks{suffix}").read_bytes()
    file = IndexedFile.open(tmp_path / "blocks")
    assert [file[number].tolist() for number in range(len(file))] == documents


def test_small_vocabularies_take_two_bytes() -> None:
    assert token_dtype(65_536) == np.uint16
    assert token_dtype(65_537) == np.int32


def index(
    code: int = 8, version: int = 1, lengths: Any = (2, 1), offsets: Any = (0, 4), boundaries: Any = (0, 1, 2)
) -> bytes:
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", version, code, len(lengths), len(boundaries))
    arrays = (np.array(lengths, "<i4"), np.array(offsets, "<i8"), np.array(boundaries, "<i8"))
    return header + b"".join(part.tobytes() for part in arrays)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not an index of token shards"),
        (b"MMIDIDX", "is not an index of token shards"),
        (b"GGUF" + bytes(60), "is not an index of token shards"),
        (index(version=2), "is of version 2; moyai reads version 1"),
        (index(code=7), "has tokens of kind 7"),
        (index()[:-1], "81 bytes, and 2 sequences with 3 boundaries take 82"),
        (index() + bytes(2), "84 bytes, and 2 sequences"),
        (b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 2**63, 2**63) + bytes(48), "82 bytes, and"),
        (index(boundaries=()), "has no boundaries"),
        (index(lengths=(-1, 4)), "sequence 0 is not where"),
        (index(offsets=(0, 2)), "sequence 1 is not where"),
        (index(offsets=(-4, 0)), "sequence 0 is not where"),
        (index(lengths=(2, 2)), "has 6 bytes, and by its index it has more"),
        (index(lengths=(2, 0)), "has 6 bytes, and by its index it has 4"),
        (index(lengths=(2**31 - 1, 1), offsets=(0, 2**32 - 2)), "by its index it has more"),
        (index(boundaries=(1, 1, 2)), "do not reach from the first"),
        (index(boundaries=(0, 1, 3)), "do not reach from the first"),
        (index(boundaries=(0, 2, 1, 2)), "begins before the one in front"),
        (index(boundaries=(0, -5, 2)), "begins before the one in front"),
    ],
)
def test_an_index_that_is_not_true(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(6))
    (tmp_path / "a.idx").write_bytes(index())
    IndexedFile.open(tmp_path / "a")
    (tmp_path / "a.idx").write_bytes(content)
    with pytest.raises(InputFileError) as caught:
        IndexedFile.open(tmp_path / "a")
    assert said in str(caught.value)
    assert str(tmp_path / "a") in str(caught.value)


@pytest.mark.parametrize("missing", [".bin", ".idx"])
def test_a_missing_half(tmp_path: Path, missing: str) -> None:
    write(tmp_path / "a", DOCUMENTS)
    (tmp_path / f"a{missing}").unlink()
    with pytest.raises(InputFileError, match=rf"a\{missing} does not exist"):
        IndexedFile.open(tmp_path / "a")


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 1000), value=st.integers(0, 255), cut=st.none() | st.integers(0, 1000))
def test_a_damaged_index_is_refused_or_still_reads_within_its_file(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: int | None
) -> None:
    prefix = tmp_path_factory.mktemp("damaged") / "a"
    write(prefix, DOCUMENTS)
    content = bytearray(prefix.with_suffix(".idx").read_bytes())
    content[place % len(content)] = value
    prefix.with_suffix(".idx").write_bytes(bytes(content[:cut]))
    try:
        file = IndexedFile.open(prefix)
    except InputFileError:
        return
    assert sum(len(file[number]) for number in range(len(file))) == file.num_tokens


def test_nothing_has_its_name_before_it_is_whole(tmp_path: Path) -> None:
    writer = IndexedWriter(tmp_path / "a", np.dtype("<u2"))
    writer.add(np.array([1, 2], dtype="<u2"), np.array([2], dtype=np.int32))
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin.partial"]
    writer.abandon()
    assert not list(tmp_path.iterdir())
