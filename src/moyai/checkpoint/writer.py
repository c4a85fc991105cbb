"""Writing a checkpoint's safetensors: planned first, copied by the kernel or generated in pieces, resumable.

A shard is written to `NAME.partial`, flushed and renamed, so a file under its final name is whole.  While a
write is under way, `.write.json` in the directory holds the digest of its plan; a second call with the same
plan keeps the finished shards, any other one starts anew.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np

from moyai.checkpoint.disk import PARTIAL, finish_file, full_disk_told, replace_file, require_space, size_text
from moyai.checkpoint.dtypes import STORAGE_DTYPES
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.planned import Generator, PlannedTensor, Shard, index_json, plan_digest, plan_shards
from moyai.checkpoint.reader import INDEX_NAME
from moyai.errors import InputFileError
from moyai.progress import Bar, Progress

JOURNAL_NAME = ".write.json"

# Each thread holds a few pieces of a few megabytes; more threads than this would break the promise on memory.
_MAX_THREADS = 8
_COPY_BYTES = 1 << 26
_FLUSH_BYTES = 1 << 28
_BUFFER_BYTES = 1 << 20
# The file system, or the pair of them, cannot copy or preallocate by itself.
_UNSUPPORTED = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def write_checkpoint(
    out_dir: Path,
    planned: Sequence[PlannedTensor],
    *,
    shard_bytes: int,
    progress: Progress,
    extra_files: Mapping[str, bytes] | None = None,
    num_threads: int | None = None,
) -> list[Path]:
    """Write `planned` as `model.safetensors`, or as shards of at most `shard_bytes` and their index.

    Memory does not grow with the model: copies never pass through this process, and generated tensors only in
    the pieces that they yield.  The bytes written do not depend on the number of threads.

    Args:
        out_dir: made if need be; other safetensors files that it holds as a checkpoint's weights are removed.
        planned: the tensors, in the order in which they are wanted in the files.
        shard_bytes: most data in one file; a single tensor larger than that has a file to itself.
        progress: a bar in bytes.
        extra_files: name -> content of small files, written last.
        num_threads: to generate tensors with; default: the cores, at most 8.

    Returns:
        The weight files, in order.

    Raises:
        DiskSpaceError: the disk cannot hold it (told before anything is written), or fills up on the way.
        InputFileError: a source file is gone or became shorter, or lies in `out_dir` where it would be
            overwritten.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    shards = plan_shards(planned, shard_bytes)
    _check_sources_outside(out_dir, planned)
    done = _take_over(out_dir, shards, plan_digest(shards))
    waiting = [shard for shard in shards if shard.name not in done]
    needed_bytes = sum(shard.num_bytes for shard in waiting)
    with full_disk_told(out_dir, f"{size_text(needed_bytes)} were written"):
        require_space(out_dir, needed_bytes)
        _write_shards(out_dir, shards, done, progress, num_threads or min(os.cpu_count() or 1, _MAX_THREADS))
        if len(shards) > 1:
            replace_file(out_dir / INDEX_NAME, index_json(shards))
        for name, content in (extra_files or {}).items():
            replace_file(out_dir / name, content)
    (out_dir / JOURNAL_NAME).unlink()
    return [out_dir / shard.name for shard in shards]


def _check_sources_outside(out_dir: Path, planned: Sequence[PlannedTensor]) -> None:
    here = out_dir.resolve()
    for path in {info.path for tensor in planned for info in _sources(tensor)}:
        if path.parent.resolve() == here:
            raise InputFileError(
                f"{path} is a source of the checkpoint that would be written into {out_dir}",
                hint="write into another directory",
            )


def _sources(tensor: PlannedTensor) -> tuple[TensorInfo, ...]:
    return (tensor.content,) if isinstance(tensor.content, TensorInfo) else tensor.sources


def _take_over(out_dir: Path, shards: Sequence[Shard], digest: str) -> set[str]:
    """Names of the shards that an interrupted write of the same plan finished; other weights are removed."""
    journal = out_dir / JOURNAL_NAME
    content = json.dumps({"plan_sha256": digest}).encode()
    same = journal.is_file() and journal.read_bytes() == content
    done = {shard.name for shard in shards if same and _is_whole(out_dir / shard.name, shard)}
    for path in [*out_dir.glob("model*.safetensors"), *out_dir.glob(f"*{PARTIAL}"), out_dir / INDEX_NAME]:
        if path.name not in done:
            path.unlink(missing_ok=True)
    if not same:
        replace_file(journal, content)
    return done


def _is_whole(path: Path, shard: Shard) -> bool:
    if not path.is_file() or path.stat().st_size != shard.num_bytes:
        return False
    with path.open("rb") as file:
        return file.read(len(shard.header)) == shard.header


def _write_shards(
    out_dir: Path, shards: Sequence[Shard], done: set[str], progress: Progress, num_threads: int
) -> None:
    total = sum(shard.num_bytes for shard in shards)
    done_bytes = sum(shard.num_bytes for shard in shards if shard.name in done)
    with (
        progress.bar("write", total=total, unit="bytes", done=done_bytes) as bar,
        _stoppable_pool(num_threads) as (pool, stop),
    ):
        for shard in shards:
            if shard.name not in done:
                _write_shard(out_dir / shard.name, shard, pool, stop, bar)


@contextmanager
def _stoppable_pool(num_threads: int) -> Iterator[tuple[ThreadPoolExecutor, Event]]:
    """Threads that stop at their next piece, rather than work on, once anything has failed."""
    stop = Event()
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield pool, stop
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _write_shard(path: Path, shard: Shard, pool: ThreadPoolExecutor, stop: Event, bar: Bar) -> None:
    partial = path.with_name(path.name + PARTIAL)
    file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _preallocate(file, shard.num_bytes)
        _write_at(file, shard.header, 0)
        bar.advance(len(shard.header))
        jobs = {
            pool.submit(_generate, file, tensor, tensor.content, start, stop): tensor
            for tensor, start in shard.tensors
            if not isinstance(tensor.content, TensorInfo)
        }
        try:
            # Copies gain nothing from threads, which would wait for one another at the file's lock.
            _copy_tensors(file, shard, bar)
            for job in as_completed(jobs):
                job.result()
                bar.advance(jobs[job].num_bytes)
        finally:
            _settle(jobs, stop)
        os.fsync(file)
    except BaseException:
        partial.unlink()
        raise
    finally:
        os.close(file)
    finish_file(partial, path)


def _settle(jobs: Mapping[Future[None], PlannedTensor], stop: Event) -> None:
    """After a failure, wait until no thread writes to the file any more."""
    if not all(job.done() for job in jobs):
        stop.set()
        for job in jobs:
            if not job.cancel():
                job.exception()


def _preallocate(file: int, num_bytes: int) -> None:
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, num_bytes)
            return
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    os.ftruncate(file, num_bytes)


def _generate(file: int, tensor: PlannedTensor, content: Generator, start: int, stop: Event) -> None:
    offset, dtype = start, STORAGE_DTYPES[tensor.dtype]
    for piece in content():
        if stop.is_set():
            return
        assert piece.dtype == dtype, f"{tensor.name} is planned as {tensor.dtype}, generated as {piece.dtype}"
        _write_at(file, np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data, offset)
        offset += piece.nbytes
        assert offset - start <= tensor.num_bytes, f"{tensor.name} yields more than {tensor.shape}"
    assert offset - start == tensor.num_bytes, f"{tensor.name} yields less than {tensor.shape}"


def _write_at(file: int, content: bytes | memoryview, offset: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def _copy_tensors(file: int, shard: Shard, bar: Bar) -> None:
    flushed = 0
    # Sending pages to the disk waits for it, which copying need not.
    with ThreadPoolExecutor(1) as sender:
        for tensor, start in shard.tensors:
            if isinstance(tensor.content, TensorInfo):
                assert tensor.content.num_bytes == tensor.num_bytes, tensor.name
                _copy(file, tensor.content, start)
                bar.advance(tensor.num_bytes)
                end = start + tensor.num_bytes
                if end - flushed >= _FLUSH_BYTES:
                    sender.submit(_send, file, flushed, end - flushed)
                    flushed = end


def _send(file: int, start: int, num_bytes: int) -> None:
    """Let Linux begin to write pages to the disk, so that the flush at the end finds little to do."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, start, num_bytes, os.POSIX_FADV_DONTNEED)


def _copy(file: int, source: TensorInfo, start: int) -> None:
    copied = 0
    with _open_source(source.path) as source_file:
        while copied < source.num_bytes:
            count = min(_COPY_BYTES, source.num_bytes - copied)
            got = _copy_piece(source_file, file, count, source.start + copied, start + copied)
            if got == 0:
                raise InputFileError(
                    f"{source.path} ends within tensor {source.name!r}", hint="was it changed meanwhile?"
                )
            copied += got


def _copy_piece(source_file: int, file: int, count: int, source_offset: int, offset: int) -> int:
    """Copy at most `count` bytes within the kernel, or through a buffer where it cannot; returns how many."""
    try:
        if hasattr(os, "copy_file_range"):
            return os.copy_file_range(source_file, file, count, source_offset, offset)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    content = os.pread(source_file, min(count, _BUFFER_BYTES), source_offset)
    _write_at(file, content, offset)
    return len(content)


@contextmanager
def _open_source(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist any more") from None
    try:
        yield file
    finally:
        os.close(file)
