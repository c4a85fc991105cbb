import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from checkpoint.raw_safetensors import entry, write_raw
from moyai.checkpoint.layout import check_complete
from moyai.checkpoint.reader import CheckpointReader, gather_rows, read_rows, row_length, row_pieces
from moyai.errors import InputFileError


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


def test_a_file_that_is_gone_or_empty_after_its_header_was_read(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(10, 3)}, path)
    reader = CheckpointReader(tmp_path)
    for length in (0, reader.tensors["a"].start + 20):
        os.truncate(path, length)
        with pytest.raises(InputFileError, match="ends within tensor 'a'"):
            CheckpointReader.raw(reader, "a")
        with pytest.raises(InputFileError, match="ends within tensor 'a'"):
            gather_rows(reader.tensors["a"], np.array([9]))
    path.unlink()
    for read in (reader.raw, reader.float32):
        with pytest.raises(InputFileError, match=r"model\.safetensors does not exist"):
            read("a")


def test_rows_of_tensors_without_bytes(tmp_path):
    save_file({"a": torch.zeros(0, 3), "b": torch.zeros(2, 0), "c": torch.tensor(1.0)}, tmp_path / "model.safetensors")
    reader = CheckpointReader(tmp_path)
    infos = reader.tensors
    assert [row_length(infos[name]) for name in "abc"] == [3, 0, 1]
    assert read_rows(infos["a"], 0, 0).shape == (0, 3)
    assert read_rows(infos["b"], 0, 2).shape == (2, 0)
    assert [list(row_pieces(infos[name])) for name in "ab"] == [[], []]
    assert [reader.raw(name).shape for name in "abc"] == [(0, 3), (2, 0), ()]


def test_no_weights_at_all(tmp_path):
    assert "neither model.safetensors, model.safetensors.index.json, pytorch_model.bin nor" in refused(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"])
def test_something_else_than_a_file(tmp_path, name):
    path = tmp_path / name
    path.mkdir()
    assert f"{name} is a directory, not a file" in refused(tmp_path)
    path.rmdir()
    path.symlink_to("nowhere")
    assert f"{name} does not exist" in refused(tmp_path)
    path.unlink()
    path.symlink_to(name)
    assert f"{name} cannot be read: Too many levels of symbolic links" in refused(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert f"{name} is a pipe, a socket or a device" in refused(tmp_path)


def test_links_are_followed_as_in_the_cache_of_the_hub(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    shards(blobs, {"a": "x.safetensors"}, x={"a": entry(0, 8)})
    for path in list(blobs.iterdir()):
        (snapshot / path.name).symlink_to(os.path.relpath(path, snapshot))
    reader = CheckpointReader(snapshot)
    assert reader.float32("a").tolist() == [0, 0]
    assert reader.tensors["a"].path == snapshot / "x.safetensors"


def test_safetensors_go_before_torch_files_and_one_file_before_shards(tmp_path):
    torch.save({"d": torch.ones(1)}, tmp_path / "shard.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"d": "shard.bin"}}))
    assert list(CheckpointReader(tmp_path).tensors) == ["d"]
    torch.save({"c": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert list(CheckpointReader(tmp_path).tensors) == ["c"]
    shards(tmp_path, {"b": "x.safetensors"}, x={"b": entry(0, 8)})
    assert list(CheckpointReader(tmp_path).tensors) == ["b"]
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert list(CheckpointReader(tmp_path).tensors) == ["a"]


READ_WITHOUT_TORCH = """
import sys
from pathlib import Path
sys.modules["torch"] = None
from moyai.checkpoint.reader import CheckpointReader
print(CheckpointReader(Path(sys.argv[1])).float32("a").tolist())
"""


def test_safetensors_are_read_without_torch(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    command = [sys.executable, "-c", READ_WITHOUT_TORCH, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[1.0, 1.0]\n"


def saved_with_head(make_parent, tiny, head, *, tied=True):
    """A checkpoint of torch whose `lm_head.weight` is `head(embedding)`, and what its config describes."""
    architecture = tiny.model_copy(update={"tie_word_embeddings": tied})
    directory = make_parent(architecture)
    reader = CheckpointReader(directory)
    state = {name: torch.from_numpy(reader.float32(name)) for name in reader.tensors}
    state["lm_head.weight"] = head(state["model.embed_tokens.weight"])
    (directory / "model.safetensors").unlink()
    torch.save(state, directory / "pytorch_model.bin")
    return directory, architecture


@pytest.mark.parametrize("head", [lambda embedding: embedding, torch.clone], ids=["one place", "two places"])
def test_a_tied_head_is_left_out_of_torch_files(make_parent, tiny, head):
    directory, architecture = saved_with_head(make_parent, tiny, head)
    reader = CheckpointReader(directory)
    check_complete(reader.shapes, architecture, "it")
    assert "lm_head.weight" not in reader.tensors
    (directory / "config.json").unlink()
    assert "lm_head.weight" in CheckpointReader(directory).tensors


def test_a_head_of_its_own_stays(make_parent, tiny):
    directory, _ = saved_with_head(make_parent, tiny, lambda embedding: embedding + 1)
    assert "lm_head.weight" in CheckpointReader(directory).tensors, "the config calls it tied, but it is not"


def test_a_head_that_the_config_does_not_tie_stays(make_parent, tiny):
    directory, architecture = saved_with_head(make_parent, tiny, lambda embedding: embedding, tied=False)
    reader = CheckpointReader(directory)
    check_complete(reader.shapes, architecture, "it")
    assert reader.tensors["lm_head.weight"].start == reader.tensors["model.embed_tokens.weight"].start


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
    *("\0x.safetensors", "x.bin", "\ud800.safetensors", "./x.safetensors", "x.safetensors/", "~/x.safetensors"),
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
    ("index", "told"),
    [
        (b"[]", "not a JSON object"),
        (b"3", "not a JSON object"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe{\0}\0", "not JSON"),
        (b'{"weight_map": 3}', "has no weight_map"),
        (b'{"weight_map": [["a", "x.safetensors"]]}', "has no weight_map"),
        (b'{"weight_map": {"a": 3}}', "has no weight_map"),
        (b'{"weight_map": {"a": ["x.safetensors"]}}', "has no weight_map"),
        (b'{"weight_map": {}}', "empty weight_map"),
        (b'{"metadata": {}}', "has no weight_map"),
        (b'{"a":1,"a":2}', "names 'a' twice in its index"),
        (b'{"weight_map": {"a": "x.safetensors", "a": "x.safetensors"}}', "names 'a' twice in its index"),
        (b'{"weight_map": {"\\ud800": "x.safetensors"}}', "which is not Unicode"),
        (b'{"metadata": {"total_size": NaN}, "weight_map": {}}', "it holds NaN"),
        (b'{"metadata": ' + b"9" * 5000 + b', "weight_map": {}}', "a number of thousands of digits"),
        (b'{"metadata": ' + b"[" * 5000, "nested too deeply"),
        (b'{"weight_map": {"a": "' + b"x" * 300 + b'.safetensors"}}', "cannot be read: File name too long"),
        (b'{"weight_map": {"a": "x.safetensors"}}', "x.safetensors does not exist"),
    ],
)
def test_an_index_that_is_none(tmp_path, index, told):
    (tmp_path / "model.safetensors.index.json").write_bytes(index)
    assert told in refused(tmp_path)


def test_an_index_longer_than_any(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.touch()
    os.truncate(index, 10**12)  # a hole: it takes no room
    assert "is longer than 50000000 bytes" in refused(tmp_path)
