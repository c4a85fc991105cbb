"""What a checkpoint will hold, planned before a byte of it is written: tensors, shards, headers, index."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from moyai.checkpoint.dtypes import STORAGE_DTYPES
from moyai.checkpoint.header import TensorInfo, header_bytes, tensor_bytes
from moyai.checkpoint.reader import SINGLE_NAME

Generator = Callable[[], Iterable[NDArray[Any]]]


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor to write."""

    name: str
    dtype: str
    """A key of `STORAGE_DTYPES`."""
    shape: tuple[int, ...]
    origin: str
    """What it is made of, with all that decides its bytes besides `sources`: settings and seed too."""
    content: TensorInfo | Generator
    """Where its bytes are, or a function that yields arrays in storage dtype that make it up in order.

    The function may be called from any thread, and once more after a failure.
    """
    sources: tuple[TensorInfo, ...] = ()
    """The tensors that the function reads."""

    @property
    def num_bytes(self) -> int:
        """Size of the data."""
        return tensor_bytes(self.dtype, self.shape)

    @property
    def num_elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Shard:
    """One file to write."""

    name: str
    header: bytes
    tensors: tuple[tuple[PlannedTensor, int], ...]
    """Each with the byte of the file where it begins."""
    num_bytes: int


def plan_shards(planned: Sequence[PlannedTensor], shard_bytes: int) -> list[Shard]:
    """Distribute tensors over files of at most `shard_bytes` of data; a larger tensor has a file to itself.

    Files are named as transformers names them.  Within a file the wider dtypes come first, so that every
    tensor is aligned to its dtype.
    """
    assert len({tensor.name for tensor in planned}) == len(planned), "a tensor is planned twice"
    groups: list[list[PlannedTensor]] = [[]]
    filled = 0
    for tensor in planned:
        if groups[-1] and filled + tensor.num_bytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += tensor.num_bytes
    names = [SINGLE_NAME]
    if len(groups) > 1:
        names = [f"model-{number:05}-of-{len(groups):05}.safetensors" for number in range(1, len(groups) + 1)]
    return [_shard(name, group) for name, group in zip(names, groups, strict=True)]


def index_json(shards: Sequence[Shard]) -> bytes:
    """`model.safetensors.index.json` for `shards`."""
    weight_map = {tensor.name: shard.name for shard in shards for tensor, _ in shard.tensors}
    total = sum(tensor.num_bytes for shard in shards for tensor, _ in shard.tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    return json.dumps(index, indent=2, ensure_ascii=False).encode() + b"\n"


def plan_digest(shards: Sequence[Shard]) -> str:
    """sha256 of all that decides the bytes of `shards`; a source file counts by size and time of change."""
    digest = hashlib.sha256()
    seen: dict[Path, tuple[int, int]] = {}

    def told(info: TensorInfo) -> list[str | int]:
        if info.path not in seen:
            status = info.path.stat()
            seen[info.path] = (status.st_size, status.st_mtime_ns)
        return [str(info.path.absolute()), info.start, info.num_bytes, *seen[info.path]]

    for shard in shards:
        digest.update(shard.name.encode() + shard.header)
        for tensor, _ in shard.tensors:
            content = (tensor.content,) if isinstance(tensor.content, TensorInfo) else tensor.sources
            digest.update(json.dumps([tensor.origin, [told(info) for info in content]]).encode())
    return digest.hexdigest()


def _shard(name: str, tensors: list[PlannedTensor]) -> Shard:
    ordered = sorted(tensors, key=lambda tensor: -STORAGE_DTYPES[tensor.dtype].itemsize)
    header = header_bytes((tensor.name, tensor.dtype, tensor.shape) for tensor in ordered)
    placed, end = [], len(header)
    for tensor in ordered:
        placed.append((tensor, end))
        end += tensor.num_bytes
    return Shard(name, header, tuple(placed), end)
