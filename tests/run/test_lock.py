"""One run at a time in a directory, however the other one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moyai.errors import BusyError
from moyai.run.lock import lock_directory
from run.conftest import StandIns

_HOLD = """
import sys
from pathlib import Path
from moyai.run.lock import lock_directory
with lock_directory(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds `directory`."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(BusyError) as caught, lock_directory(tmp_path):
            pytest.fail("the lock was given twice")
        assert f"process {process.pid}" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert caught.value.exit_code == 2


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with lock_directory(tmp_path):
            assert (tmp_path / ".moyai-lock").read_text() == str(os.getpid())


def test_a_busy_run_directory_is_left_as_it_is(stand_ins: StandIns) -> None:
    stand_ins.run()
    before = {path: path.stat().st_mtime_ns for path in stand_ins.out_dir.rglob("*")}
    with holder(stand_ins.out_dir), pytest.raises(BusyError):
        stand_ins.run("stages.extend.pieces=9")
    after = {path: path.stat().st_mtime_ns for path in stand_ins.out_dir.rglob("*") if path.name != ".moyai-lock"}
    assert after == {path: mtime for path, mtime in before.items() if path.name != ".moyai-lock"}
    assert stand_ins.ran == []


def test_other_directories_are_free(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with lock_directory(tmp_path / "one"), lock_directory(tmp_path / "two"):
        pass
    with lock_directory(tmp_path / "one"):
        pass
