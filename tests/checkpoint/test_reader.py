import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from moyai.checkpoint.reader import CheckpointReader, gather_rows, read_rows, row_pieces
from moyai.errors import InputFileError


def entry(start, end, *, shape=None, dtype="F32"):
    return {
        "dtype": dtype,
        "shape": [(end - start) // 4] if shape is None else shape,
        "data_offsets": [start, end],
    }


def write_raw(path, header, data=b"", *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def refused(directory) -> str:
    with pytest.raises(InputFileError) as caught:
        CheckpointReader(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert not message.endswith(".")
    assert str(directory) in message
    return message


def test_reads_what_the_safetensors_library_wrote(tmp_path):
    made = {
        "a": torch.randn(3, 5),
        "b": torch.randn(4, 2, 2).to(torch.bfloat16),
        "c": torch.randn(7).half(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
    }
    save_file(made, tmp_path / "model.safetensors")
    reader = CheckpointReader(tmp_path)
    assert reader.shapes == {name: tuple(value.shape) for name, value in made.items()}
    for name, value in made.items():
        assert (reader.float32(name) == value.float().numpy()).all()
        assert reader.float32(name).shape == tuple(value.shape)
    assert (reader.raw("b") == made["b"].view(torch.uint16).numpy()).all()
    assert reader.raw("scalar").shape == ()
    with pytest.raises(ValueError, match="read-only"):
        reader.raw("a")[0, 0] = 1
    with pytest.raises(TypeError):
        reader.tensors["a"] = reader.tensors["b"]


def test_rows_and_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("moyai.checkpoint.reader.PIECE_ELEMENTS", 7)
    value = torch.arange(30.0).reshape(10, 3)
    save_file({"a": value}, tmp_path / "model.safetensors")
    info = CheckpointReader(tmp_path).tensors["a"]
    assert (read_rows(info, 4, 6) == value[4:6].numpy()).all()
    assert (gather_rows(info, np.array([9, 0, 9])) == value[[9, 0, 9]].numpy()).all()
    pieces = list(row_pieces(info))
    assert [start for start, _ in pieces] == [0, 2, 4, 6, 8]
    assert (np.concatenate([piece for _, piece in pieces]) == value.numpy()).all()


def test_a_file_that_shrinks_after_its_header_was_read(tmp_path):
    save_file({"a": torch.zeros(10, 3)}, tmp_path / "model.safetensors")
    reader = CheckpointReader(tmp_path)
    os.truncate(tmp_path / "model.safetensors", reader.tensors["a"].start + 20)
    with pytest.raises(InputFileError, match="ends within tensor 'a'"):
        reader.float32("a")


A_AND_B = {"a": entry(0, 8), "b": entry(8, 16)}


@pytest.mark.parametrize(
    ("header", "num_data_bytes", "told"),
    [
        ({"a": entry(0, 8)}, 4, "is truncated: tensor 'a' ends"),
        ({"a": entry(0, 8)}, 12, "4 bytes after its last tensor"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "'b' overlapping"),
        ({"a": entry(0, 8), "b": entry(12, 20)}, 20, "hole of 4 bytes before tensor 'b'"),
        ({"a": entry(4, 12)}, 12, "hole of 4 bytes"),
        ({"a": entry(0, 8, dtype="F31")}, 8, "'a' with unknown dtype 'F31'"),
        ({"a": entry(0, 8, dtype=["F32"])}, 8, "unknown dtype"),
        ({"a": entry(0, 8, shape=[3])}, 8, r"'a' in 8 bytes, but F32 \[3\] takes 12"),
        ({"a": entry(0, 8, shape=[2**40, 2**40])}, 8, "takes 4835"),
        ({"a": entry(0, 8, shape=[-2])}, 8, "shape"),
        ({"a": entry(0, 8, shape=[2.0])}, 8, "shape"),
        ({"a": entry(0, 8, shape=[True, 2])}, 8, "shape"),
        ({"a": entry(0, 8, shape="2")}, 8, "shape"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, 8, "data_offsets"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}, 8, "data_offsets"),
        ({"a": {"dtype": "F32", "shape": [2]}}, 8, "other keys"),
        ({"a": 3}, 8, "other keys"),
        ({"__metadata__": {"x": 1}} | A_AND_B, 16, "__metadata__"),
        (b'{"a":1,"a":2}', 0, "names 'a' twice"),
        (b"[1]", 0, "does not begin"),
        (b'{"a":', 0, "not JSON"),
        (b'{"\xff":1}', 0, "not JSON"),
        (b'{"a":' + b"[" * 100_000, 0, "not JSON"),
    ],
)
def test_headers_are_distrusted(tmp_path, header, num_data_bytes, told):
    write_raw(tmp_path / "model.safetensors", header, bytes(num_data_bytes))
    message = refused(tmp_path)
    assert "model.safetensors" in message
    with pytest.raises(InputFileError, match=told):
        CheckpointReader(tmp_path)


@pytest.mark.parametrize("length", [1000, 2**63, 100_000_001])
def test_a_header_longer_than_the_file(tmp_path, length):
    write_raw(tmp_path / "model.safetensors", b"{}", length=length)
    assert "truncated" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_hardly_a_file(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    assert f"it has {len(content)} bytes" in refused(tmp_path)


def test_no_weights_at_all(tmp_path):
    assert "neither" in refused(tmp_path)


def shards(directory, weight_map, **files):
    for name, header in files.items():
        write_raw(
            directory / f"{name}.safetensors",
            header,
            bytes(max(e["data_offsets"][1] for e in header.values())),
        )
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path):
    shards(tmp_path, {"a": "x.safetensors", "b": "y.safetensors"}, x={"a": entry(0, 8)}, y={"b": entry(0, 4)})
    assert CheckpointReader(tmp_path).shapes == {"a": (2,), "b": (1,)}


OUTSIDE = [
    *("../x.safetensors", "/x.safetensors", "..", "", "d/x.safetensors", "d\\x.safetensors"),
    *("\0x.safetensors", "x.bin"),
]


@pytest.mark.parametrize("outside", OUTSIDE)
def test_an_index_that_leads_out_of_its_directory(tmp_path, outside):
    shards(tmp_path, {"a": outside})
    message = refused(tmp_path)
    assert "'a'" in message
    assert "no safetensors file's name" in message


def test_a_missing_shard(tmp_path):
    shards(tmp_path, {"a": "x.safetensors", "b": "y.safetensors"}, x={"a": entry(0, 8)})
    assert "y.safetensors does not exist" in refused(tmp_path)


def test_a_truncated_shard(tmp_path):
    shards(tmp_path, {"a": "x.safetensors"}, x={"a": entry(0, 8)})
    os.truncate(tmp_path / "x.safetensors", (tmp_path / "x.safetensors").stat().st_size - 1)
    assert "x.safetensors is truncated: tensor 'a'" in refused(tmp_path)


def test_a_tensor_in_two_shards(tmp_path):
    both = {"a": entry(0, 8), "b": entry(8, 16)}
    shards(tmp_path, {"a": "x.safetensors", "b": "y.safetensors"}, x={"a": entry(0, 8)}, y=both)
    assert "tensor 'a' is both in" in refused(tmp_path)


@pytest.mark.parametrize("weight_map", [{"a": "x.safetensors", "b": "x.safetensors"}, {"b": "x.safetensors"}])
def test_an_index_that_is_not_of_these_shards(tmp_path, weight_map):
    shards(tmp_path, weight_map, x={"a": entry(0, 8)})
    message = refused(tmp_path)
    assert "lacks tensor 'b'" in message or "holds tensor 'a', which" in message


@pytest.mark.parametrize(
    "index", ["[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"a":1,"a":2}']
)
def test_an_index_that_is_none(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert "index.json" in refused(tmp_path)
