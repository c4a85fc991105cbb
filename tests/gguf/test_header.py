import os
import struct
from pathlib import Path

import pytest
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moyai.errors import InputFileError
from moyai.gguf.header import read_header


def test_agrees_with_the_gguf_library(tiny_gguf: Path) -> None:
    ours, theirs = read_header(tiny_gguf), GGUFReader(tiny_gguf)
    assert [
        (t.name, t.tensor_type, tuple(reversed(t.shape.tolist())), t.data_offset, t.n_bytes)
        for t in theirs.tensors
    ] == [(t.name, t.type, t.shape, t.start, t.num_bytes) for t in ours.tensors.values()]
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.metadata == fields


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        read_header(tmp_path / "none.gguf")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGML" + bytes(100), b"\x80\x02}q" + bytes(100)])
def test_not_a_gguf(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match="is not a GGUF file"):
        read_header(path)


def test_other_version(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 4, 0, 0))
    with pytest.raises(InputFileError, match="version 4"):
        read_header(path)


@pytest.mark.parametrize("count", [2**63, 2**40, 1])
def test_counts_beyond_the_end_cost_nothing(tmp_path: Path, count: int) -> None:
    path = tmp_path / "large.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, count, count))
    with pytest.raises(InputFileError, match="in the middle of its header"):
        read_header(path)


def test_an_array_beyond_the_end_costs_nothing(tmp_path: Path) -> None:
    for kind in (0, 8):  # bytes, texts
        path = tmp_path / "array.gguf"
        array = struct.pack("<Q1sIIQ", 1, b"k", 9, kind, 2**62)
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + array)
        with pytest.raises(InputFileError, match="is damaged"):
            read_header(path)


def test_a_header_is_not_as_long_as_its_file(tmp_path: Path) -> None:
    """A damaged length may stay within a file that is mostly weights."""
    path, num_bytes = tmp_path / "model.gguf", 10**12
    start = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1s", 1, b"k")
    for value, told in (
        (struct.pack("<IIQ", 9, 0, 4_000_001), "'k' has 4000001 values; at most 4000000 are read"),
        (struct.pack("<IIQ", 9, 8, 10**9), "'k' has 1000000000 values; at most 4000000 are read"),
        (struct.pack("<IQ", 8, 200_000_000), "its header does not end within 100000000 bytes"),
        (struct.pack("<IIQ", 9, 12, 4_000_000) + bytes(32_000_000), None),
    ):
        path.write_bytes(start + value)
        os.truncate(path, len(start + value) if told is None else num_bytes)  # a hole: it takes no room
        if told is None:
            assert len(read_header(path).metadata["k"]) == 4_000_000
            continue
        with pytest.raises(InputFileError, match="is damaged") as caught:
            read_header(path)
        assert told in str(caught.value)


def test_something_else_than_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.mkdir()
    with pytest.raises(InputFileError, match=r"model\.gguf is a directory, not a file"):
        read_header(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(InputFileError, match="is a pipe, a socket or a device"):
        read_header(path)


def test_a_long_name_is_told_in_short(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    name = "x" * 50_000
    tensor = struct.pack("<Q", len(name)) + name.encode() + struct.pack("<IQIQ", 1, 1, 99, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor)
    with pytest.raises(InputFileError, match="has the unknown quantisation 99") as caught:
        read_header(path)
    assert len(str(caught.value)) < 600


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_anywhere(tiny_gguf: Path, tmp_path: Path, share: float) -> None:
    content = tiny_gguf.read_bytes()
    end = max(tensor.start + tensor.num_bytes for tensor in read_header(tiny_gguf).tensors.values())
    path = tmp_path / "cut.gguf"
    path.write_bytes(content[: int(end * share)])
    with pytest.raises(InputFileError):
        read_header(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_told_or_harmless(tiny_gguf: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(tiny_gguf.read_bytes())
    start = min(tensor.start for tensor in read_header(tiny_gguf).tensors.values())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, start - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.gguf"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except InputFileError:
        return
    assert all(tensor.start + tensor.num_bytes <= len(content) for tensor in header.tensors.values())
