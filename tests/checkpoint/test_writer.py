import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.writer import JOURNAL_NAME, write_checkpoint
from moyai.errors import DiskSpaceError, InputFileError
from moyai.progress import SilentProgress

NUMPY_NAMES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I8": "i1", "BOOL": "?"}


def write(out_dir, planned, *, shard_bytes=10**9, **rest):
    return write_checkpoint(out_dir, planned, shard_bytes=shard_bytes, progress=SilentProgress(), **rest)


def made(name, value, dtype="F32", *, pieces=1):
    flat = value.reshape(-1)
    return PlannedTensor(name, dtype, value.shape, "made up", lambda: iter(np.array_split(flat, pieces)))


def copies(directory):
    reader = CheckpointReader(directory)
    return [PlannedTensor(n, i.dtype, i.shape, f"copy of {n}", i) for n, i in reader.tensors.items()]


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


tensors = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
        lambda n: n != "__metadata__"
    ),
    st.tuples(
        st.sampled_from(sorted(NUMPY_NAMES)), st.lists(st.integers(0, 5), max_size=3), st.integers(1, 4)
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensors, st.integers(1, 400))
def test_what_is_written_is_read_alike_by_the_safetensors_library(tmp_path_factory, drawn, shard_bytes):
    rng = np.random.default_rng(0)
    values = {
        name: (dtype, rng.integers(0, 2, shape).astype(NUMPY_NAMES[dtype]), pieces)
        for name, (dtype, shape, pieces) in drawn.items()
    }
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    planned = [made(name, value, dtype, pieces=pieces) for name, (dtype, value, pieces) in values.items()]
    paths = write(first, planned, shard_bytes=shard_bytes)
    write(second, copies(first), shard_bytes=shard_bytes)
    read = {name: value for path in paths for name, value in load_file(path).items()}
    assert {name: value.dtype for name, value in read.items()} == {
        n: v.dtype for n, (_, v, _) in values.items()
    }
    ours, again = CheckpointReader(first), CheckpointReader(second)
    assert set(ours.tensors) == set(read) == set(values)
    for name, (_, value, _) in values.items():
        for other in (read[name], ours.raw(name), again.raw(name)):
            assert other.shape == value.shape
            assert (other == value).all()
        assert ours.tensors[name].start % max(1, value.itemsize) == 0 or value.size == 0
    for path in paths:
        assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 64 == 0


def test_names_metadata_and_index_are_those_of_the_hub(tmp_path):
    planned = [made(name, np.full((4, 4), index, np.float32)) for index, name in enumerate("abc")]
    paths = write(tmp_path, planned, shard_bytes=128, extra_files={"note.txt": b"hello"})
    assert [path.name for path in paths] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 192}
    assert index["weight_map"] == {"a": paths[0].name, "b": paths[0].name, "c": paths[1].name}
    with safe_open(paths[0], "np") as file:
        assert file.metadata() == {"format": "pt"}
    assert set(files(tmp_path)) == {
        *(path.name for path in paths),
        "model.safetensors.index.json",
        "note.txt",
    }

    assert write(tmp_path, planned) == [tmp_path / "model.safetensors"]
    assert set(files(tmp_path)) == {"model.safetensors", "note.txt"}


def test_the_kernel_may_refuse_to_copy(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    save_file({"a": np.arange(3_000_000, dtype=np.float32)}, tmp_path / "in" / "model.safetensors")

    def refuse(*args):
        raise OSError(errno.EXDEV, "not on these file systems")

    write(tmp_path / "kernel", copies(tmp_path / "in"))
    monkeypatch.setattr(os, "copy_file_range", refuse)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    write(tmp_path / "buffer", copies(tmp_path / "in"))
    assert files(tmp_path / "kernel") == files(tmp_path / "buffer")
    monkeypatch.delattr(os, "copy_file_range")
    monkeypatch.delattr(os, "posix_fallocate")
    write(tmp_path / "elsewhere", copies(tmp_path / "in"))
    assert files(tmp_path / "kernel") == files(tmp_path / "elsewhere")


def test_a_source_that_shrinks_or_goes(tmp_path):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "model.safetensors"
    save_file({"a": np.arange(300, dtype=np.float32)}, source)
    planned = copies(tmp_path / "in")
    os.truncate(source, 500)
    with pytest.raises(InputFileError, match="ends within tensor 'a'"):
        write(tmp_path / "out", planned)
    assert not list((tmp_path / "out").glob("model*"))


def test_a_source_in_the_output_directory_is_left_alone(tmp_path):
    save_file({"a": np.arange(300, dtype=np.float32)}, tmp_path / "model.safetensors")
    before = files(tmp_path)
    with pytest.raises(InputFileError, match="is a source"):
        write(tmp_path, copies(tmp_path))
    assert files(tmp_path) == before


class Counter:
    """Tensors of which it is known how often they were made."""

    def __init__(self, *, fail_at=None, origin="made up"):
        self.made, self.fail_at, self.origin = [], fail_at, origin

    def planned(self, num=6):
        return [
            PlannedTensor(f"t{i}", "F32", (8,), self.origin, lambda i=i: self.generate(i)) for i in range(num)
        ]

    def generate(self, i):
        self.made.append(i)
        yield np.full(4, i, np.float32)
        if i == self.fail_at:
            raise OSError(errno.ENOSPC, "no space left")
        yield np.full(4, i, np.float32)


def test_resumes_at_the_first_shard_that_is_not_whole(tmp_path):
    with pytest.raises(DiskSpaceError, match="filled up"):
        write(tmp_path, Counter(fail_at=4).planned(), shard_bytes=32)
    whole = {path.name for path in tmp_path.glob("model*.safetensors")}
    assert whole == {f"model-0000{i}-of-00006.safetensors" for i in (1, 2, 3, 4)}
    assert not list(tmp_path.glob("*.partial"))
    assert not (tmp_path / "model.safetensors.index.json").exists()

    with (tmp_path / "model-00002-of-00006.safetensors").open("r+b") as file:
        file.truncate(40)
    counter = Counter()
    write(tmp_path, counter.planned(), shard_bytes=32)
    assert sorted(counter.made) == [1, 4, 5]
    assert not (tmp_path / JOURNAL_NAME).exists()
    assert (CheckpointReader(tmp_path).raw("t1") == 1).all()


@pytest.mark.parametrize("change", ["origin", "shard_bytes"])
def test_another_plan_starts_anew(tmp_path, change):
    with pytest.raises(DiskSpaceError):
        write(tmp_path, Counter(fail_at=4).planned(), shard_bytes=32)
    counter = Counter(origin="seed 1" if change == "origin" else "made up")
    write(tmp_path, counter.planned(), shard_bytes=64 if change == "shard_bytes" else 32)
    assert sorted(counter.made) == [0, 1, 2, 3, 4, 5]


def test_a_changed_source_starts_anew(tmp_path):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "model.safetensors"
    save_file({"a": np.zeros(8, np.float32)}, source)
    failing = Counter(fail_at=0).planned(1)
    with pytest.raises(DiskSpaceError):
        write(tmp_path / "out", copies(tmp_path / "in") + failing, shard_bytes=32)
    save_file({"a": np.ones(8, np.float32)}, source)
    os.utime(source, ns=(1, 1))
    write(tmp_path / "out", copies(tmp_path / "in") + Counter().planned(1), shard_bytes=32)
    assert (CheckpointReader(tmp_path / "out").raw("a") == 1).all()


SLOW_WRITE = """
import sys, time
from pathlib import Path
import numpy as np
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.writer import write_checkpoint
from moyai.progress import SilentProgress

def slow(i):
    for piece in range(10):
        time.sleep(0.02)
        yield np.full(100, i, np.float32)

planned = [PlannedTensor(f"t{i}", "F32", (1000,), "slow", lambda i=i: slow(i)) for i in range(8)]
write_checkpoint(Path(sys.argv[1]), planned, shard_bytes=4000, progress=SilentProgress(), num_threads=1)
"""


def test_goes_on_after_kill_9(tmp_path):
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = subprocess.Popen([sys.executable, "-c", SLOW_WRITE, str(killed)])
    third = killed / "model-00003-of-00008.safetensors"
    deadline = time.monotonic() + 20
    while not third.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "model.safetensors.index.json").exists()
    before = third.stat().st_mtime_ns
    for directory in (killed, straight):
        subprocess.run([sys.executable, "-c", SLOW_WRITE, str(directory)], check=True)
    assert third.stat().st_mtime_ns == before
    assert files(killed) == files(straight)


def test_a_disk_that_is_too_small_is_told_before_writing(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("moyai.checkpoint.disk.shutil.disk_usage", lambda path: usage)
    counter = Counter()
    with pytest.raises(DiskSpaceError, match=r"needs \d+ bytes but has 100 bytes free"):
        write(tmp_path, counter.planned())
    assert counter.made == []
    assert not list(tmp_path.glob("model*"))


def test_a_file_size_limit_is_told(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskSpaceError, match="no file as large"):
            write(tmp_path, [made("a", np.zeros(100_000, np.float32))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("model*"))


def test_a_failure_stops_the_other_threads(tmp_path):
    def endless():
        while True:
            time.sleep(0.001)
            yield np.zeros(0, np.float32)

    def fails():
        yield np.zeros(1, np.float32)
        raise OSError(errno.EIO, "a disk dies")

    planned = [
        PlannedTensor("a", "F32", (4,), "endless", endless),
        PlannedTensor("b", "F32", (4,), "fails", fails),
        *(PlannedTensor(f"c{i}", "F32", (4,), "endless", endless) for i in range(4)),
    ]
    with pytest.raises(OSError, match="a disk dies"):
        write(tmp_path, planned, num_threads=2)
    assert not list(tmp_path.glob("model*"))


def test_progress_is_told_in_bytes(tmp_path):
    told = []

    class Told(SilentProgress):
        class _Bar:
            def advance(self, amount, **figures):
                told.append(amount)

        def bar(self, label, *, total, unit, done=0):
            told.append(-total + done)
            return contextlib.nullcontext(self._Bar())

    with pytest.raises(DiskSpaceError):
        write_checkpoint(
            tmp_path, Counter(fail_at=4).planned(), shard_bytes=32, progress=Told(), num_threads=1
        )
    told.clear()
    write_checkpoint(tmp_path, Counter().planned(), shard_bytes=32, progress=Told())
    assert sum(told) == 0
