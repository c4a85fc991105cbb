"""Feed damaged and hostile weight files to the readers, and see that they come out with one of moyai's own errors.

    python tools/fuzz_readers.py --files 10000 --seed 0

Files are made from a seed, so the same call makes the same files.  They are read in child processes that may not
take more than a few hundred megabytes, nor more than some seconds for a file, nor write, run or connect to
anything.  A file is accepted, in which case all its tensors are read, or refused by one sentence.  Anything else is
a failure: the file is kept in `--out` and the exit code is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from mutated_files import clear, mutate
from valid_files import write_valid

from moyai.errors import MoyaiError

_MEMORY_BYTES = 256 << 20
_SECONDS = 20.0
_LONGEST_MESSAGE = 1200
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NOT_SOUND = "a valid file was not read:"
_FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "pickle.find_class", "ctypes.dlopen")
_ALLOWED = ("os.listdir", "os.scandir")


class Forbidden(BaseException):
    """A reader did something that reading does not need."""


def _read_checkpoint(path: Path) -> None:
    from moyai.checkpoint.dtypes import TORCH_NAMES
    from moyai.checkpoint.reader import CheckpointReader, gather_rows, row_length, row_pieces

    reader = CheckpointReader(path.parent)
    for name, info in reader.tensors.items():
        raw = reader.raw(name)
        assert (raw.shape, raw.nbytes) == (info.shape, info.num_bytes), info
        assert sum(piece.nbytes for _, piece in row_pieces(info)) == info.num_bytes, info
        if info.num_bytes:
            last = raw.size // row_length(info) - 1
            assert gather_rows(info, np.array([last, 0])).shape == (2, row_length(info)), info
        if info.dtype in TORCH_NAMES:
            assert reader.float32(name).shape == info.shape, info


def _read_gguf(path: Path) -> None:
    from gguf.quants import dequantize

    from moyai.gguf.header import read_header
    from moyai.gguf.read import float32_pieces

    for tensor in read_header(path).tensors.values():
        assert tensor.start + tensor.num_bytes <= path.stat().st_size, tensor
        try:
            dequantize(np.zeros((1, tensor.row_bytes), np.uint8), tensor.type)
        except NotImplementedError:  # such a tensor is refused before it is read
            continue
        num_rows = tensor.num_elements // tensor.shape[-1]
        with np.errstate(invalid="ignore", over="ignore"):  # damaged scales
            num_read = sum(piece.size for piece in float32_pieces(path, tensor, 0, num_rows))
        assert num_read == tensor.num_elements, tensor


READERS: dict[str, Callable[[Path], None]] = {
    "safetensors": _read_checkpoint,
    "index": _read_checkpoint,
    "gguf": _read_gguf,
    "torch": _read_checkpoint,
}


@dataclass(frozen=True)
class Failure:
    """A file that was neither accepted nor refused."""

    kind: str
    index: int
    story: str
    kept: Path


def fuzz(kind: str, num_files: int, seed: int, out: Path) -> tuple[Counter[str], list[Failure]]:
    """Read `num_files` mutated files of `kind`; returns how many had which outcome, and the failures."""
    outcomes: Counter[str] = Counter()
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        case = Path(scratch) / "case"
        case.mkdir()
        for index, outcome in _outcomes(kind, num_files, seed, case):
            if outcome in ("accepted", "refused"):
                outcomes[outcome] += 1
                continue
            outcomes["failed"] += 1
            kept = out / f"{kind}-{seed}-{index}"
            shutil.rmtree(kept, ignore_errors=True)
            out.mkdir(parents=True, exist_ok=True)
            shutil.move(case, kept)
            case.mkdir()
            failures.append(Failure(kind, index, outcome, kept))
    return outcomes, failures


def _outcomes(kind: str, num_files: int, seed: int, case: Path) -> Iterator[tuple[int, str]]:
    """Index and outcome of each file; a child that died or hangs is replaced by another one."""
    context = multiprocessing.get_context("fork")
    index = 0
    while index < num_files:
        ours, theirs = context.Pipe()
        child = context.Process(target=_child, args=(theirs, kind, seed, index, num_files, case), daemon=True)
        child.start()
        theirs.close()
        outcome = ""
        while index < num_files and outcome in ("", "accepted", "refused"):
            try:
                outcome = ours.recv() if ours.poll(_SECONDS) else f"took more than {_SECONDS:.0f} seconds"
            except EOFError:
                child.join()
                outcome = f"the process died with exit code {child.exitcode}"
            if outcome.startswith(_NOT_SOUND):
                raise RuntimeError(outcome)
            yield index, outcome
            index += 1
        child.kill()
        child.join()
        ours.close()


def _child(connection: Connection, kind: str, seed: int, first: int, last: int, case: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    read = READERS[kind]
    watched = _watch()
    clear(case)
    try:
        read(write_valid(kind, case, random.Random(0)))  # imports what it needs, before memory is limited
    except BaseException:  # noqa: BLE001  # the parent tells it
        connection.send(f"{_NOT_SOUND} {traceback.format_exc()}")
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for index in range(first, last):
        rng = random.Random(f"{kind} {seed} {index}")
        clear(case)
        path = write_valid(kind, case, rng)
        mutate(kind, case, path, rng)
        watched[0] = True
        try:
            read(path)
            outcome = "accepted"
        except MoyaiError as error:
            outcome = _refusal(error)
        except BaseException:  # noqa: BLE001  # anything else is what is looked for
            outcome = traceback.format_exc()
        watched[0] = False
        connection.send(outcome)
        if outcome not in ("accepted", "refused"):
            return


def _refusal(error: MoyaiError) -> str:
    """`refused`, if the error says so in one sentence that every terminal can show."""
    message = str(error)
    try:
        length = len(message.encode("utf-8"))
    except UnicodeEncodeError:
        return f"a message that is not Unicode: {message!r}"
    if "\n" in message or message.endswith(".") or length > _LONGEST_MESSAGE:
        return f"a message that is no sentence: {message!r}"
    return "refused"


def _watch() -> list[bool]:
    """From now on and while the list's item is true, this process may only read."""
    watched = [False]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not watched[0]:
            return
        if event == "open":
            flags = arguments[2]
            bad = isinstance(flags, int) and bool(flags & _WRITING)
        else:
            bad = event.startswith(_FORBIDDEN) and event not in _ALLOWED
        if bad:
            watched[0] = False
            raise Forbidden(f"{event} {arguments!r:.300}")

    sys.addaudithook(hook)
    return watched


def main(arguments: list[str] | None = None) -> int:
    """Fuzz every kind, print the counts and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="how many of each kind (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds make other files (default: 0)")
    parser.add_argument("--kind", choices=sorted(READERS), action="append", help="only this kind; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"), help="where failures are kept")
    asked = parser.parse_args(arguments)
    found: list[Failure] = []
    print(f"{'kind':<12} {'files':>7} {'accepted':>9} {'refused':>8} {'failed':>7} {'seconds':>8}", flush=True)
    for kind in asked.kind or READERS:
        started = time.monotonic()
        outcomes, failures = fuzz(kind, asked.files, asked.seed, asked.out)
        counts = f"{outcomes['accepted']:>9} {outcomes['refused']:>8} {outcomes['failed']:>7}"
        print(f"{kind:<12} {asked.files:>7} {counts} {time.monotonic() - started:>8.1f}", flush=True)
        found += failures
    for failure in found:
        print(f"\n{failure.kind} {failure.index}, kept as {failure.kept}\n{failure.story.rstrip()}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
