import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from moyai.checkpoint.dtypes import STORAGE_DTYPES
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.torch_file import read_torch_file
from moyai.errors import InputFileError


def refused(path) -> str:
    with pytest.raises(InputFileError) as caught:
        read_torch_file(path)
    message = str(caught.value)
    assert "\n" not in message
    assert not message.endswith(".")
    assert len(message) < 1000
    assert str(path) in message
    return message


def stored(tensor) -> bytes:
    flat = tensor.detach().reshape(-1).contiguous()
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def check_same(path, state):
    found, content = read_torch_file(path), path.read_bytes()
    assert set(found) == set(state)
    for name, info in found.items():
        assert info.path == path
        assert info.shape == tuple(state[name].shape), name
        assert content[info.start : info.start + info.num_bytes] == stored(state[name]), name
    assert [info.start for info in found.values()] == sorted(info.start for info in found.values())
    return found


def packed_anew(path, change, *, method=zipfile.ZIP_STORED):
    """The same archive by another packer, its files gone through `change(name, content)`; None leaves one out."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", method) as new:
        for name, data in parts.items():
            if (changed := change(name.partition("/")[2], data)) is not None:
                new.writestr(zipfile.ZipInfo(name), changed, method)


def with_pickle(path, content, protocol=2):
    """A sound archive of torch.save whose pickle is `content`."""
    torch.save({"a": torch.ones(2)}, path)
    data = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
    packed_anew(path, lambda name, old: data if name == "data.pkl" else old)


DTYPES = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "bool"]
DTYPES += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


def test_every_dtype_of_safetensors_lies_where_it_says(tmp_path):
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "pytorch_model.bin"
    state = {}
    for name in DTYPES:
        numbers = torch.randint(0, 100, (3, 5), generator=generator)
        state[name] = numbers.to(getattr(torch, name))
    torch.save(state, path)
    found = check_same(path, state)
    assert {info.dtype for info in found.values()} == set(STORAGE_DTYPES)
    for name, info in found.items():
        assert info.num_bytes == 15 * STORAGE_DTYPES[info.dtype].itemsize, name


def test_what_state_dicts_are_made_of(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    state = model.state_dict()
    assert isinstance(state, OrderedDict)
    assert hasattr(state, "_metadata")
    whole = torch.arange(60.0).reshape(10, 6)
    state |= {
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "rows of a larger one": whole[2:5],
        "the larger one": whole,
        "tied": state["0.weight"],
        "of one column": torch.arange(4.0).reshape(1, 4).t(),
        "重み": torch.ones(1),
        "": torch.ones(1, dtype=torch.int8),
    }
    torch.save(state, path)
    found = check_same(path, state)
    assert (found["tied"].start, found["tied"].num_bytes) == (found["0.weight"].start, 48)
    assert found["rows of a larger one"].start == found["the larger one"].start + 2 * 6 * 4


@pytest.mark.parametrize("left_out", [(), (".storage_alignment",), (".data/serialization_id", "byteorder")])
def test_archives_of_older_releases_and_other_packers(tmp_path, left_out):
    path = tmp_path / "pytorch_model.bin"
    state = {"a": torch.randn(5), "b": torch.randn(3, 2).half(), "c": torch.arange(3)}
    torch.save(state, path)
    # torch counts on its own padding where the archive has a format version.
    packed_anew(path, lambda name, data: None if name in (".format_version", *left_out) else data)
    check_same(path, state)


def test_storages_at_another_place_than_torch_counts_on(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.randn(5), "b": torch.randn(3, 2)}, path)
    packed_anew(path, lambda name, data: data)
    assert "which no storage in it has" in refused(path)


class Canary:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def test_nothing_is_executed(tmp_path, monkeypatch):
    # torch takes this for a wish to load anything, unless it is told otherwise.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, canary = tmp_path / "pytorch_model.bin", tmp_path / "canary"
    calls = [
        (os.system, f"touch {canary}"),
        (eval, f"open({str(canary)!r}, 'w')"),
        (exec, f"open({str(canary)!r}, 'w')"),
        (open, str(canary), "w"),
        (os.mkdir, str(canary)),
        (subprocess.Popen, ["touch", str(canary)]),
    ]
    for call in calls:
        for content in (Canary(*call), {"a": Canary(*call)}, {"state_dict": [Canary(*call)]}):
            with_pickle(path, content)
            message = refused(path)
            assert f"{call[0].__name__}'" in message
            assert "it names" in message
            assert not canary.exists()
    # The canary does sing where pickles are run.
    with_pickle(path, Canary(*calls[0]))
    torch.load(path, weights_only=False)
    assert canary.exists()


NESTED = b"(" + b"K\x00\x85" * 1 + b")" + b"\x85" * 200_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        # What torch's own list allows, and what would take all memory or all stack.
        (Canary(bytearray, 10**11), "bytearray"),
        (Canary(torch.FloatTensor, 10**11), "torch.FloatTensor"),
        (b"\x80\x02}" + NESTED + b"K\x01u.", "keys that are not text"),
        (b"\x80\x02}" + b")\x85" + b"q\x00h\x00h\x00\x86" * 100 + b"K\x01s.", "keys that are not text"),
        (b"\x80\x02}(" + b"}" * 20_000, "unused objects"),
        (b"\x80\x02}" + b"(" * 20_000, "unused objects"),
        (b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.", "it names 'posix.system'"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "it calls 'collections OrderedDict'"),
        (b"\x80\x02X\x01\x00\x00\x00a)R.", "it calls 'text'"),
        (b"\x80\x02}X\x01\x00\x00\x00aK\x01sK\x02.", "it is no dictionary"),
        (b"\x80\x02].", "it is no dictionary"),
        (b"\x80\x02}(K\x01K\x02u.", "keys that are not text"),
        (b"\x80\x02}]b.", "attributes that are no dictionary"),
        (b"\x80\x02K\x01}b.", "is no dictionary is filled"),
        (b"\x80\x02K\x01Q.", "something other than a storage"),
        (b"\x80\x02}K\x01a.", "is no list is filled"),
        (b"\x80\x02}", "pickle exhausted before seeing STOP"),
        (b"\x80\x02R.", "takes more objects than it has made"),
        (b"\x80\x02}h\x07.", "damaged list of tensors"),
        (b"\x80\x02u.", "damaged list of tensors"),
        (b"\x80\x02}\x94.", "the opcode MEMOIZE"),
        (b"\x80\x04}.", "protocol 4"),
        (b"", "damaged list of tensors"),
    ],
)
def test_pickles_of_more_than_tensors(tmp_path, content, told):
    path = tmp_path / "pytorch_model.bin"
    with_pickle(path, content)
    assert told in refused(path)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"state_dict": {"a": torch.ones(2)}}, "holds a dict under 'state_dict'"),
        ({"a": torch.ones(2), "epoch": 3}, "holds a int under 'epoch'"),
        ({"a": [torch.ones(2)]}, "holds a list under 'a'"),
        ({1: torch.ones(2)}, "keys that are not text"),
        ([torch.ones(2)], "it is no dictionary"),
        (torch.ones(2), "it is no dictionary"),
        ({"a": torch.arange(6.0).reshape(2, 3).t()}, "not contiguous: its shape is (3, 2), its strides are (1, 3)"),
        ({"a": torch.ones(1).expand(4)}, "not contiguous"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "dtype torch.complex64"),
        ({"a": torch._neg_view(torch.ones(2))}, "sparse, quantised or negated"),
        ({"a": torch.eye(2).to_sparse()}, "_rebuild_sparse_tensor"),
        ({"a": torch.ones(2, device="meta")}, "_rebuild_meta_tensor_no_storage"),
        ({"a": np.ones(2)}, "it names 'numpy."),
        ({"\ud800": torch.ones(2)}, "which is not Unicode"),
    ],
)
def test_states_of_more_than_plain_tensors(tmp_path, state, told):
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path)
    assert told in refused(path)


def test_quantised_tensors(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of this dtype
        torch.save({"a": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}, path)
    assert "_rebuild_qtensor" in refused(path)


def test_views_that_reach_beyond_their_storage(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(300)}, path)
    content = path.read_bytes()
    size = b"M" + struct.pack("<H", 300) + b"\x85"  # (300,): the shape
    assert content.count(size) == 1
    for wrong in (b"M" + struct.pack("<H", 301) + b"\x85", b"M" + struct.pack("<H", 60_000) + b"\x85"):
        path.write_bytes(content)
        packed_anew(path, lambda name, data, wrong=wrong: None if name[0] == "." else data.replace(size, wrong))
        assert "which no storage in it has" in refused(path)


@pytest.mark.parametrize("sizes", [(2**62, 2**62), (0, 2**62, 2**10), (-1,)])
def test_shapes_that_no_memory_has(tmp_path, sizes):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(7)}, path)

    def change(name, data):
        new = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", size) for size in sizes) + b"t"
        return data.replace(b"K\x07\x85", new) if name == "data.pkl" else data

    packed_anew(path, change)
    assert str(path) in refused(path)


def test_files_that_are_cut_off(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(40)}, path)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert "truncated" in refused(path) or length < 4


def edited(content, what):
    """The bytes of an archive with one thing wrong in the zip directory of its storage."""
    place = content.rindex(b"PK\x01\x02", 0, content.index(b"/data/0", content.index(b"PK\x01\x02")))
    changed = bytearray(content)
    fields = {"method": (10, 8), "encrypted": (8, 0x809), "place": (42, 0), "size": (24, 10**6), "both sizes": (20, 10**6)}
    field, value = fields[what]
    struct.pack_into("<H" if field in (8, 10) else "<I", changed, place + field, value)
    if what == "both sizes":
        struct.pack_into("<I", changed, place + 24, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("method", "holds 'pytorch_model/data/0' compressed"),
        ("encrypted", "holds 'pytorch_model/data/0' encrypted"),
        ("place", "not where the directory says"),
        ("size", "compressed"),
        ("both sizes", "contradicts itself"),
    ],
)
def test_zip_directories_are_distrusted(tmp_path, what, told):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(40)}, path)
    path.write_bytes(edited(path.read_bytes(), what))
    assert told in refused(path)


def test_archives_that_are_not_of_torch_save(tmp_path):
    path = tmp_path / "pytorch_model.bin"

    def saved():
        torch.save({"a": torch.ones(40)}, path)

    saved()
    packed_anew(path, lambda name, data: data, method=zipfile.ZIP_DEFLATED)
    assert "compressed; moyai reads weights where they lie" in refused(path)
    saved()
    packed_anew(path, lambda name, data: b"big" if name == "byteorder" else data)
    assert "byte order b'big'" in refused(path)
    saved()
    packed_anew(path, lambda name, data: None if name == "data.pkl" else data)
    assert "it has no data.pkl" in refused(path)
    for extra, told in {
        "pytorch_model/constants.pkl": "TorchScript",
        "pytorch_model/DATA.pkl": "same name twice",
        "other/data.pkl": "more than one directory",
    }.items():
        saved()
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(extra, b"x")
        assert told in refused(path)
    saved()
    path.write_bytes(path.read_bytes()[:-2] + b"\x05\0a note")  # a comment, in which torch may find another directory
    assert "contradicts itself" in refused(path)


@pytest.mark.parametrize(
    ("part", "content"), [("version", b"j\n"), (".storage_alignment", b"x"), ("data/0", None)]
)
def test_what_torch_says_of_a_file_is_one_sentence(tmp_path, part, content):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(40)}, path)
    packed_anew(path, lambda name, data: content if name == part else data)
    assert refused(path)


def test_files_of_other_formats(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    assert "is not of torch.save since 1.6" in refused(path)
    path.write_bytes(pickle.dumps(Canary(os.system, "true")))
    assert "is not of torch.save since 1.6" in refused(path)
    path.write_bytes(b"")
    assert "does not begin like a zip archive" in refused(path)
    path.unlink()
    assert "does not exist" in refused(path)
    path.mkdir()
    assert "is a directory, not a file" in refused(path)


def test_a_list_of_tensors_longer_than_any(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with_pickle(path, b"\x80\x02}" + b"N0" * 8_000_000 + b".")
    assert "a list of tensors of 16000004 bytes" in refused(path)


STREAM = """
import resource, sys
from pathlib import Path
import torch
from moyai.checkpoint.reader import CheckpointReader, row_pieces
path = Path(sys.argv[1])
torch.save({"small": torch.ones(2)}, path / "pytorch_model.bin")
CheckpointReader(path)  # loads what it needs
torch.save({"large": torch.ones(40_000, 1000), "small": torch.ones(2)}, path / "pytorch_model.bin")
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 32_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(sum(float(rows.sum()) for _, rows in row_pieces(CheckpointReader(path).tensors["large"])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_weights_are_streamed_and_never_in_memory(tmp_path):
    done = subprocess.run([sys.executable, "-c", STREAM, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) == 40_000_000


def test_a_directory_of_torch_files_reads_like_one_of_safetensors(make_parent, tiny):
    directory = make_parent()
    reader = CheckpointReader(directory)
    state = {name: torch.from_numpy(reader.float32(name)) for name in reader.tensors}
    (directory / "model.safetensors").unlink()
    torch.save(state, directory / "pytorch_model.bin")
    check_reads_like(state, CheckpointReader(directory))

    (directory / "pytorch_model.bin").unlink()
    names, weight_map = list(state), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: state[name] for name in part}, directory / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = directory / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    check_reads_like(state, CheckpointReader(directory))
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "pytorch_model-00001-of-00002.safetensors")}))
    with pytest.raises(InputFileError, match="which is no bin file's name beside it"):
        CheckpointReader(directory)


def check_reads_like(state, reader):
    assert reader.shapes == {name: tuple(state[name].shape) for name in reader.tensors}
    assert set(reader.tensors) == set(state)
    for name, value in state.items():
        assert (reader.raw(name) == value.numpy()).all()
        assert (reader.float32(name) == value.numpy()).all()
