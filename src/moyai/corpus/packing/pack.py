"""Packing: texts in, token shards out, at nearly the rate of the tokenizer alone and with little memory.

The tokenizer has all cores.  Reading texts and writing tokens go on beside it in a thread each, a few batches ahead and
behind, so that it never waits for them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from moyai.corpus.packing.indexed_file import IndexedDigest, IndexedWriter, token_dtype
from moyai.corpus.packing.packed import PackedBy, Shard

_Item = TypeVar("_Item")

# An encoding takes some 200 bytes a token while it waits to be written.
_BATCH_CHARACTERS = 1 << 18
_BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Packed:
    """What was packed."""

    documents: int
    tokens: int
    characters: int
    bytes: int
    """Of the text in UTF-8."""
    shards: tuple[Shard, ...]


class ShardWriter:
    """Writes documents to `directory`/00000, 00001, ... , each with at most `shard_bytes` of tokens.

    A document that is larger has a shard to itself.
    """

    def __init__(self, directory: Path, dtype: np.dtype[Any], shard_bytes: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._dtype, self._shard_bytes = directory, dtype, shard_bytes
        self._writer: IndexedWriter | None = None
        self._shards: list[Shard] = []

    def add(self, tokens: NDArray[Any], lengths: NDArray[np.int32]) -> None:
        """Documents: their tokens one after the other, and how many each has."""
        ends = np.cumsum(lengths, dtype=np.int64)
        document = token = 0
        while document < len(lengths):
            if self._writer is None:
                self._writer = IndexedWriter(self._directory / f"{len(self._shards):05}", self._dtype)
            room = token + (self._shard_bytes - self._writer.num_bytes) // self._dtype.itemsize
            fitting = int(np.searchsorted(ends, room, side="right"))
            if fitting == document and not self._writer.num_bytes:
                fitting += 1
            if fitting > document:
                end = int(ends[fitting - 1])
                self._writer.add(tokens[token:end], lengths[document:fitting])
                document, token = fitting, end
            if document < len(lengths):
                self._close()

    def finish(self) -> tuple[Shard, ...]:
        """Close the last shard; returns all of them."""
        self._close()
        return tuple(self._shards)

    def abandon(self) -> None:
        """Remove what there is of an unfinished shard."""
        if self._writer is not None:
            self._writer.abandon()

    def _close(self) -> None:
        if self._writer is not None:
            name = f"{self._directory.name}/{len(self._shards):05}"
            self._shards.append(_shard(name, self._writer.num_bytes, self._writer.finish()))
            self._writer = None


def _shard(name: str, num_bytes: int, digest: IndexedDigest) -> Shard:
    return Shard(
        name=name,
        documents=digest.documents,
        tokens=digest.tokens,
        bin_bytes=num_bytes,
        bin_sha256=digest.bin_sha256,
        idx_sha256=digest.idx_sha256,
    )


def pack_texts(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    packed_by: PackedBy,
    directory: Path,
    *,
    shard_bytes: int,
    advance: Callable[[int], None] = lambda characters: None,
) -> Packed:
    """Encode `texts`, in order, and write each as a document with its marks to shards in `directory`.

    Args:
        texts: the documents; they are read in a thread of their own.
        tokenizer: as it was loaded from its file.
        packed_by: the marks, and how many ids there are.
        directory: made if need be; shards of the same name are replaced.
        shard_bytes: largest size of a `.bin` file.
        advance: told how many characters have been encoded.
    """
    writer = ShardWriter(directory, token_dtype(packed_by.num_ids), shard_bytes)
    counted = Packed(0, 0, 0, 0, ())
    try:
        with ThreadPoolExecutor(1) as pool, closing(_ahead(_batches(texts))) as batches:
            written: list[Future[Packed]] = []
            for batch in batches:
                encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
                written.append(pool.submit(_write, writer, encodings, batch, packed_by))
                del encodings  # from here on the writer alone holds them, and frees them one by one
                if len(written) == _BATCHES_AHEAD:
                    counted = _sum(counted, written.pop(0).result())
                advance(sum(map(len, batch)))
            for rest in written:
                counted = _sum(counted, rest.result())
        return replace(counted, shards=writer.finish())
    except BaseException:
        writer.abandon()
        raise


def _write(writer: ShardWriter, encodings: list[Encoding], batch: list[str], packed_by: PackedBy) -> Packed:
    start, end = packed_by.document_start, packed_by.document_end
    ids, lengths = array("i"), array("i")
    encodings.reverse()
    while encodings:
        encoded = encodings.pop().ids  # each encoding is freed once its ids are taken
        ids.append(start)
        ids.fromlist(encoded)
        ids.append(end)
        lengths.append(len(encoded) + 2)
    tokens = np.frombuffer(ids, dtype=np.intc).astype(token_dtype(packed_by.num_ids))
    writer.add(tokens, np.frombuffer(lengths, dtype=np.intc))
    num_bytes = sum(len(text.encode("utf-8")) for text in batch)
    return Packed(len(batch), len(tokens), sum(map(len, batch)), num_bytes, ())


def _sum(first: Packed, second: Packed) -> Packed:
    return Packed(
        first.documents + second.documents,
        first.tokens + second.tokens,
        first.characters + second.characters,
        first.bytes + second.bytes,
        (),
    )


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts together until they have enough characters."""
    batch, characters = [], 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _ahead(items: Iterable[_Item]) -> Generator[_Item]:
    """The same items, made in a thread a few ahead; what goes wrong there is raised here."""
    made: Queue[tuple[_Item | None, BaseException | None]] = Queue(_BATCHES_AHEAD)
    abandoned = Event()

    def make() -> None:
        failure: BaseException | None = None
        try:
            for item in items:
                made.put((item, None))
                if abandoned.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by whoever reads
            failure = error
        made.put((None, failure))

    thread = Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, failure = made.get()
            if failure is not None:
                raise failure
            if item is None:
                return
            yield item
    finally:
        abandoned.set()
        while thread.is_alive():
            made.get() if made.qsize() else thread.join(0.01)
