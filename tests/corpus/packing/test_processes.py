"""Work in several processes: everything is done once, a fault in one stops all, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from moyai.corpus.packing import processes
from moyai.corpus.packing.processes import StoppedError, count_done, run_each
from moyai.errors import FailedError, InputFileError

# Jobs are found by name in another process, so they are functions of a module that it can import.


def square(number: int) -> tuple[int, int]:
    count_done(1)
    return number * number, os.getpid()


def fails_at_three(number: int) -> int:
    if number == 3:
        raise InputFileError("file 3 is damaged", hint="mend it")
    for _ in range(600):
        count_done(1)
        time.sleep(0.1)
    return number


def kills_itself(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once(workers: int) -> None:
    found = dict(run_each(square, [3, 1, 2], workers=workers))
    assert {number: result[0] for number, result in found.items()} == {0: 9, 1: 1, 2: 4}
    assert (os.getpid() in {result[1] for result in found.values()}) == (workers == 1)


def test_a_fault_stops_the_others_and_is_told_as_it_was() -> None:
    with pytest.raises(InputFileError, match="file 3 is damaged") as caught:
        list(run_each(fails_at_three, [1, 3, 2], workers=2))
    assert caught.value.hint == "mend it"


def test_a_worker_that_was_ended_from_outside_is_told() -> None:
    with pytest.raises(FailedError, match="was ended from outside"):
        list(run_each(kills_itself, [1, 2], workers=2))


def test_no_more_is_submitted_than_keeps_the_processes_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = 0
    most = 0

    class Counting(ThreadPoolExecutor):
        def __init__(self, workers: int, *_: object) -> None:
            super().__init__(workers)

        def submit(self, work: Any, /, *values: Any, **named: Any) -> Future[Any]:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            return super().submit(work, *values, **named)

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Counting)
    found = {}
    for number, (result, _) in run_each(square, range(100), workers=3):
        waiting -= 1
        found[number] = result
    assert found == {number: number * number for number in range(100)}
    assert 3 <= most <= 6


def test_work_that_nobody_wants_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import get_context

    context = get_context("spawn")
    shared = processes._Shared(context.Value("q", 0), context.Event())
    monkeypatch.setattr(processes, "_shared", shared)
    count_done(5)
    assert shared.done.value == 5
    shared.stopped.set()
    with pytest.raises(StoppedError):
        count_done(1)


_PARENT = """
import sys, pathlib
from moyai.corpus.packing.processes import run_each
sys.path.insert(0, sys.argv[2])
from outliving import beats
if __name__ == "__main__":
    list(run_each(beats, [sys.argv[1]] * 2, workers=2))
"""
_CHILD = """
import os, time, pathlib
def beats(directory):
    pathlib.Path(directory, str(os.getpid())).touch()
    time.sleep(600)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "outliving.py").write_text(_CHILD)
    (tmp_path / "parent.py").write_text(_PARENT)
    (tmp_path / "beats").mkdir()
    source = Path(processes.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{tmp_path}"}
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "beats"), str(tmp_path)]
    parent = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    workers: list[int] = []
    while len(workers) < 2:
        time.sleep(0.05)
        assert parent.poll() is None
        workers = [int(path.name) for path in (tmp_path / "beats").iterdir()]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while any(_runs(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(worker) for worker in workers)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
