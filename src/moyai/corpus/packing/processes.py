"""The same work on many files in a few processes, which end with the one that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from moyai.errors import FailedError

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_LOOK_EVERY_SECONDS = 0.5
# Each look goes through all that is submitted, so it is no more than keeps the processes busy.
_SUBMITTED_PER_WORKER = 2


@dataclass(frozen=True)
class _Shared:
    """What a process and its workers see of each other."""

    done: Any
    stopped: Any


_shared: _Shared | None = None


class StoppedError(Exception):
    """The process that wants the work has given it up."""


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_done(items: int) -> None:
    """Tell, from inside a job, that so many more items are done.

    Raises:
        StoppedError: nobody wants the rest.
    """
    if _shared is None:
        return
    with _shared.done.get_lock():
        _shared.done.value += items
    if _shared.stopped.is_set():
        raise StoppedError


def run_each(
    work: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    *,
    workers: int,
    look: Callable[[int], None] = lambda items_done: None,
) -> Iterator[tuple[int, _Result]]:
    """Do every job and give the number and the result of each as it is finished, in any order.

    Args:
        work: a function of a module, so that another process finds it; it may call `count_done`.
        jobs: what it is called with; sent to other processes as bytes.
        workers: processes; 1: this one alone.
        look: told now and then how many items are done.

    Raises:
        FailedError: a worker was ended from outside.
        MoyaiError: whatever a job raises; the others are given up.
    """
    if workers == 1:
        yield from ((number, work(job)) for number, job in enumerate(jobs))
        return
    # A forked worker would inherit the threads' locks of the tokenizer and of the clock.
    context = get_context("spawn")
    shared = _Shared(context.Value("q", 0), context.Event())
    with ProcessPoolExecutor(workers, context, _begin, (shared,)) as pool:
        try:
            waiting: dict[Future[_Result], int] = {}
            left = iter(enumerate(jobs))
            while True:
                for number, job in islice(left, _SUBMITTED_PER_WORKER * workers - len(waiting)):
                    waiting[pool.submit(work, job)] = number
                if not waiting:
                    break
                done, _ = wait(waiting, _LOOK_EVERY_SECONDS, FIRST_COMPLETED)
                look(shared.done.value)
                for future in done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool:
            hint = "if memory ran out, allow it fewer cores (taskset); run again: what is finished is kept"
            raise FailedError("a process that reads the corpus was ended from outside", hint=hint) from None
        finally:
            shared.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(shared: _Shared) -> None:
    global _shared  # noqa: PLW0603 - a worker has one pool
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started us tells when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
