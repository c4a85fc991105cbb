"""Measuring a command: wall seconds until its output is on the disk, and its highest memory.

The measuring process stays small and imports neither numpy nor torch: a child's `ru_maxrss` counts the pages that its
parent had when it was started, so that peaks below the parent's 25 MB or so cannot be seen.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Run:
    """One run of a command."""

    seconds: float
    """Wall time from its start until it has ended and every byte under its output directory is on the disk."""
    cpu_seconds: float
    """Processor time of it and its children, in user space and in the kernel."""
    peak_bytes: int
    """Highest resident memory of it or of any of its children (`ru_maxrss`), mapped file pages included."""


@dataclass(frozen=True)
class Work:
    """A command to measure, and what it needs."""

    command: Sequence[str]
    out_dir: Path
    """What it makes; removed before each run."""
    reads: tuple[Path, ...] = ()
    """Directories that it reads; they are in the page cache when it starts."""
    environment: Mapping[str, str] | None = None


class CommandFailedError(Exception):
    """A measured command did not succeed."""


def run_once(work: Work, log: Path, forget: Iterable[Path] = ()) -> Run:
    """Remove the old output, let the disk come to rest, bring the page cache into a known state, run and measure.

    Args:
        work: the command.
        log: takes the command's stdout and stderr.
        forget: directories that are put out of the page cache, before what the command reads is put into it.

    Raises:
        CommandFailedError: the command did not exit with 0.
    """
    shutil.rmtree(work.out_dir, ignore_errors=True)
    os.sync()
    for directory in {*forget, *work.reads}:
        _forget_all(directory)
    for directory in work.reads:
        _read_all(directory)
    environment = {**os.environ, **(work.environment or {})}
    with log.open("ab") as output:
        started = time.perf_counter()
        child = subprocess.Popen(work.command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        flush(work.out_dir)
        seconds = time.perf_counter() - started
    if child.returncode:
        raise CommandFailedError(f"exit code {child.returncode}, see {log}: {' '.join(work.command)}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def alternate(
    works: Mapping[str, Work], rounds: int, log: Path, after: Callable[[str], None] = lambda name: None
) -> dict[str, list[Run]]:
    """Run rivals in turn, `rounds` times each; every second round goes backwards, so that none is always first.

    Args:
        works: name -> what to run.
        rounds: how often.
        log: takes the output of all of them.
        after: called with the name after each run, while its output is still there.
    """
    runs: dict[str, list[Run]] = {name: [] for name in works}
    forget = {directory for work in works.values() for directory in work.reads}
    for number in range(rounds):
        names = list(works) if number % 2 == 0 else list(works)[::-1]
        for name in names:
            run = run_once(works[name], log, forget)
            told = f"{run.seconds:.2f} s, {run.cpu_seconds:.1f} s of CPU, {run.peak_bytes / 1e6:.0f} MB"
            print(f"  {name}: {told}", flush=True)
            runs[name].append(run)
            after(name)
            shutil.rmtree(works[name].out_dir, ignore_errors=True)
    return runs


def flush(directory: Path) -> None:
    """Wait until every file under `directory` is on the disk, and the directories too."""
    for parent, _, names in os.walk(directory):
        for path in [Path(parent), *(Path(parent, name) for name in names)]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Medians and ranges of seconds and of peak memory, and every run."""
    seconds, peaks = [run.seconds for run in runs], [run.peak_bytes for run in runs]
    return {
        "seconds": statistics.median(seconds),
        "seconds_range": [min(seconds), max(seconds)],
        "cpu_seconds": statistics.median(run.cpu_seconds for run in runs),
        "peak_bytes": int(statistics.median(peaks)),
        "peak_bytes_range": [min(peaks), max(peaks)],
        "runs": [asdict(run) for run in runs],
    }


def ratio(first: Sequence[Run], second: Sequence[Run]) -> dict[str, Any]:
    """How many times longer `first` took than `second`, pair by pair: the median and the range of the ratios."""
    ratios = [a.seconds / b.seconds for a, b in zip(first, second, strict=True)]
    return {"median": statistics.median(ratios), "range": [min(ratios), max(ratios)], "pairs": ratios}


def _read_all(directory: Path) -> None:
    for path in _files(directory):
        with path.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass


def _forget_all(directory: Path) -> None:
    for path in _files(directory):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.rglob("*")) if path.is_file()]
