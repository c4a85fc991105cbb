"""A directory is there whole or not at all, whoever makes it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from moyai.corpus.packing.whole_directory import partial_directory, remove_left_over, remove_unless, whole_directory


def test_it_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with whole_directory(tmp_path / "a") as partial:
        (partial / "file").write_text("content")
        assert not (tmp_path / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "content"


def fails(directory: Path, fault: BaseException) -> None:
    with whole_directory(directory) as partial:
        (partial / "file").write_text("content")
        raise fault


@pytest.mark.parametrize("fault", [OSError("the disk is gone"), KeyboardInterrupt(), ValueError()])
def test_after_a_fault_nothing_is_left(tmp_path: Path, fault: BaseException) -> None:
    with pytest.raises(type(fault)):
        fails(tmp_path / "a", fault)
    assert not list(tmp_path.iterdir())


def test_of_two_that_make_it_at_once_the_faster_ones_stays(tmp_path: Path) -> None:
    with whole_directory(tmp_path / "a") as partial:
        (partial / "file").write_text("slow")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "file").write_text("fast")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "fast"


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    with whole_directory(tmp_path / "a") as partial:
        name = partial.name
    (tmp_path / name).mkdir()
    (tmp_path / name / "old").touch()
    (tmp_path / "a").rmdir()
    with whole_directory(tmp_path / "a"):
        pass
    assert not list((tmp_path / "a").iterdir())


def test_what_is_in_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool]] = []

    def fsync(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_ino, (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with whole_directory(tmp_path / "a") as partial:
        (partial / "inside").mkdir()
        (partial / "inside" / "file").write_text("content")
    inner = [tmp_path / "a" / "inside" / "file", tmp_path / "a" / "inside", tmp_path / "a"]
    assert seen == [*((path.stat().st_ino, False) for path in inner), (tmp_path.stat().st_ino, True)]
    assert stat.S_ISDIR((tmp_path / "a").stat().st_mode)


def is_whole(directory: Path) -> bool:
    return (directory / "whole").exists()


def test_what_is_in_the_way_is_removed(tmp_path: Path) -> None:
    remove_unless(tmp_path / "a", is_whole)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "half").touch()
    remove_unless(tmp_path / "a", is_whole)
    assert not list(tmp_path.iterdir())


def test_a_result_that_another_process_made_meanwhile_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert not is_whole(tmp_path / "a")
    (tmp_path / "a" / "whole").touch()  # between that look and the removal
    node = (tmp_path / "a").stat().st_ino
    remove_unless(tmp_path / "a", is_whole)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").stat().st_ino == node


def test_what_processes_left_that_are_gone_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    here = socket.gethostname()
    names = [
        f"000001.partial-{here}-{gone.pid}",
        f"000002.partial-{here}-{os.getpid()}",  # of an earlier process with our number
        f"000003.partial-{here}-{os.getppid()}",
        f"000004.partial-elsewhere-{gone.pid}",
        "000005",
    ]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    remove_left_over(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])


def test_a_partial_directory_is_gone_at_the_end(tmp_path: Path) -> None:
    with partial_directory(tmp_path / "bands") as scratch:
        (scratch / "file").touch()
    assert not list(tmp_path.iterdir())
