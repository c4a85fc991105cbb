import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from checkpoint.raw_safetensors import entry, write_raw
from moyai.checkpoint.header import TensorInfo, header_bytes, read_header
from moyai.errors import InputFileError

A_AND_B = {"a": entry(0, 8), "b": entry(8, 16)}


def refused(path) -> str:
    with pytest.raises(InputFileError) as caught:
        read_header(path)
    message = str(caught.value)
    assert "\n" not in message
    assert not message.endswith(".")
    assert len(message) < 1000
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("header", "num_data_bytes", "told"),
    [
        ({"a": entry(0, 8)}, 4, "is truncated: tensor 'a' ends"),
        ({"a": entry(0, 8)}, 12, "4 bytes after its last tensor"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "'b' overlapping"),
        ({"a": entry(0, 8), "b": entry(0, 8)}, 8, "'b' overlapping"),
        ({"a": entry(0, 8), "b": entry(12, 20)}, 20, "hole of 4 bytes before tensor 'b'"),
        ({"a": entry(4, 12)}, 12, "hole of 4 bytes"),
        ({"a": entry(0, 8, dtype="F31")}, 8, "'a' with unknown dtype 'F31'"),
        ({"a": entry(0, 8, dtype=["F32"])}, 8, "unknown dtype"),
        ({"a": entry(0, 8, dtype="F" * 3000)}, 8, "unknown dtype"),
        ({"a": entry(0, 8, shape=[3])}, 8, "'a' in 8 bytes, but F32 [3] takes 12"),
        ({"a": entry(0, 8, shape=[2**40])}, 8, "takes 4398046511104"),
        ({"a": entry(0, 8, shape=[2**40, 2**40])}, 8, "more than any memory has"),
        ({"a": entry(0, 0, shape=[0, 2**62, 4])}, 0, "more than any memory has"),
        ({"a": entry(0, 4, shape=[1] * 65)}, 4, "more than any memory has"),
        ({"a": entry(0, 8, shape=[2**63])}, 8, "which is not a list of sizes"),
        ({"a": entry(0, 8, shape=[-2])}, 8, "which is not a list of sizes"),
        ({"a": entry(0, 8, shape=[2.0])}, 8, "which is not a list of sizes"),
        ({"a": entry(0, 8, shape=[True, 2])}, 8, "which is not a list of sizes"),
        ({"a": entry(0, 8, shape="2")}, 8, "which is not a list of sizes"),
        ({"a": entry(0, 8, shape=[float("nan")])}, 8, "not JSON: it holds NaN"),
        ({"a": entry(0, 8, shape=[float("-inf")])}, 8, "not JSON: it holds -Infinity"),
        ({"a": entry(0, 8) | {"data_offsets": [8, 0]}}, 8, "data_offsets [8, 0]"),
        ({"a": entry(0, 8) | {"data_offsets": [-8, 0]}}, 8, "data_offsets [-8, 0]"),
        ({"a": entry(0, 8) | {"data_offsets": [0]}}, 8, "data_offsets [0]"),
        ({"a": entry(0, 8) | {"data_offsets": [2**64 - 8, 2**64]}}, 8, "data_offsets [18446744073709551608,"),
        ({"a": {"dtype": "F32", "shape": [2]}}, 8, "other keys than dtype, shape and data_offsets"),
        ({"a": entry(0, 8) | {"more": 1}}, 8, "other keys"),
        ({"a": {}}, 0, "other keys"),
        ({"a": 3}, 8, "is not a plain JSON object"),
        ({"a": {"b": entry(0, 8)}}, 8, "is not a plain JSON object"),
        ({"__metadata__": {"x": 1}} | A_AND_B, 16, "__metadata__ that is not a mapping of strings"),
        ({"__metadata__": ["x"]} | A_AND_B, 16, "__metadata__ that is not a mapping of strings"),
        (b'{"__metadata__":{"x":"y}', 0, "__metadata__ that is not JSON"),
        (b'{"__metadata__":' + b"[" * 5000, 0, "__metadata__ that is not JSON"),
        (b'{"__metadata__":{},"__metadata__":{}}', 0, "names '__metadata__' twice"),
        (b'{"a":{"dtype":"F32","dtype":"F16"}}', 0, "names 'dtype' twice in its description of tensor 'a'"),
        (b'{"a":{"dtype":' + b"[" * 3000 + b"}}", 0, "nested too deeply"),
        (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', 8, "is not a plain JSON object"),
        (b'{"a":{"dtype":"F32","shape":[' + b"9" * 3500 + b'],"data_offsets":[0,8]}}', 8, "not a list of sizes"),
        (b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', 8, "not a list of sizes"),
        (b'{"a":{"dtype":"F32" "shape":[2]}}', 0, "description of tensor 'a' that is not JSON"),
        (b'{"\\ud83d":{}}', 0, "the key '\\ud83d' in its header, which is not Unicode"),
        (b'{"\n":{}}', 0, "not JSON"),
        (b"[1]", 0, "does not begin"),
        (b"", 0, "does not begin"),
        (b"{", 0, "no name stands at character 1"),
        (b"{,}", 0, "no name stands at character 1"),
        (b'{"a"', 0, "no name stands at character 1"),
        (b'{"a":', 0, "is not a plain JSON object"),
        (b'{"\xff":1}', 0, "not JSON"),
        (b'{"a":' + b"[" * 100_000, 0, "is not a plain JSON object"),
        (b"{} {}", 0, "no name stands at character 1"),
    ],
)
def test_headers_are_distrusted(tmp_path, header, num_data_bytes, told):
    path = tmp_path / "model.safetensors"
    write_raw(path, header, bytes(num_data_bytes))
    assert told in refused(path)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(b"", b",", "no name"), (b"", b"", "breaks off"), (b"", b"}x", "breaks off"), (b"", b'"b":1}', "breaks off")],
)
def test_a_header_that_is_json_only_at_first(tmp_path, before, after, told):
    path = tmp_path / "model.safetensors"
    write_raw(path, b"{" + before + b'"a":' + json.dumps(entry(0, 8)).encode() + after, bytes(8))
    assert told in refused(path)


def test_a_name_that_stands_twice(tmp_path):
    path = tmp_path / "model.safetensors"
    one, other = json.dumps(entry(0, 8)).encode(), json.dumps(entry(8, 16)).encode()
    write_raw(path, b'{"a":' + one + b', "\\u0061":' + other + b"}", bytes(16))
    assert "names 'a' twice in its header" in refused(path)


def test_all_that_json_allows(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {'a"}{,:\\': entry(0, 8), "重み": entry(8, 8), "": entry(8, 16)}
    spaced = json.dumps({"__metadata__": {"{}": '"},{"'}} | tensors, indent=3)
    write_raw(path, b"{ \r\n\t" + spaced.encode()[1:] + b"  \n", bytes(16))
    assert {name: (info.shape, info.num_bytes) for name, info in read_header(path).items()} == {
        'a"}{,:\\': ((2,), 8),
        "重み": ((0,), 0),
        "": ((2,), 8),
    }
    write_raw(path, b"{ \n}  ")
    assert read_header(path) == {}


def test_our_own_headers_are_read_by_us_and_by_the_library(tmp_path):
    path = tmp_path / "model.safetensors"
    planned = [("重み", "F32", (2, 3)), ('"', "BF16", (4,)), ("s", "U8", ())]
    header = header_bytes(planned)
    assert len(header) % 64 == 0
    path.write_bytes(header + bytes(24 + 8 + 1))
    start = len(header)
    assert list(read_header(path).values()) == [
        TensorInfo("重み", "F32", (2, 3), path, start, 24),
        TensorInfo('"', "BF16", (4,), path, start + 24, 8),
        TensorInfo("s", "U8", (), path, start + 32, 1),
    ]
    with safe_open(path, "numpy") as theirs:
        assert sorted(theirs.keys()) == sorted(name for name, *_ in planned)


def test_the_order_is_that_of_the_places(tmp_path):
    path = tmp_path / "model.safetensors"
    write_raw(path, {"b": entry(8, 16), "empty": entry(8, 8), "a": entry(0, 8)}, bytes(16))
    assert list(read_header(path)) == ["a", "empty", "b"]


@pytest.mark.parametrize("length", [1000, 2**63, 2**64 - 1, 100_000_001])
def test_a_header_longer_than_the_file(tmp_path, length):
    path = tmp_path / "model.safetensors"
    write_raw(path, b"{}", length=length)
    assert "truncated" in refused(path)


def test_a_header_longer_than_any(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((100_000_001).to_bytes(8, "little"))
    os.truncate(path, 200_000_000)  # a hole: it takes no room
    assert "its header would take 100000001" in refused(path)


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_hardly_a_file(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert f"it has {len(content)} bytes" in refused(path)


def test_a_truncated_file_at_every_length(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(6.0), "b": np.arange(3, dtype=np.int32)}, path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(path)


READ_LIMITED = """
import resource, sys
from pathlib import Path
from moyai.checkpoint.header import read_header
from moyai.errors import InputFileError
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    print(len(read_header(Path(sys.argv[1]))))
except InputFileError:
    print("refused")
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS") or sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("kind", ["small tensors", "brackets"])
def test_a_long_header_takes_no_more_memory_than_it_must(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    text = {
        "small tensors": json.dumps({f"t{number}": entry(0, 0, dtype="U8") for number in range(100_000)}).encode(),
        "brackets": b'{"a":[' + b"[]," * 2_000_000 + b"[]]}",
    }[kind]
    write_raw(path, text)
    # Parsed as JSON all at once they take 96 MB and 160 MB.
    limit = {"small tensors": 72_000_000, "brackets": 48_000_000}[kind]
    done = subprocess.run(
        [sys.executable, "-c", READ_LIMITED, str(path), str(limit)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == {"small tensors": "100000", "brackets": "refused"}[kind]
