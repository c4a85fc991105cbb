"""Chat vectors: a model plus what tuning has changed in another one, made a piece of a tensor at a time.

    result = base + Σ ratio · (chat − base of the vector)

Source: arXiv 2310.04799.  The official code takes the rows of special tokens from the vector's base by an oversight;
here they are the chat model's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.chat_vector_models import Vector, VectorModel, counterparts, require_fit
from moyai.checkpoint.copying import converted
from moyai.checkpoint.dtypes import TORCH_NAMES, from_float32, to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import EMBEDDING_NAME, HEAD_NAME, expected_tensors
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import gather_rows, read_rows, row_pieces
from moyai.errors import InputFileError
from moyai.recipe.chat_vector import Skip


@dataclass(frozen=True)
class ChatVectorPlan:
    """The tensors of the result, and how many of them are what."""

    planned: list[PlannedTensor]
    skip: tuple[Skip, ...]
    num_changed: int
    """Tensors that a vector is added to."""
    num_skipped: Mapping[str, int]
    """Tensors that none is added to, by the reason."""
    num_special_rows: int
    """Rows of embedding and head that are the chat model's."""


@dataclass(frozen=True)
class _Part:
    """What is added to one tensor: `weight` times (chat − base)."""

    chat: TensorInfo
    base: TensorInfo
    weight: float
    told: str

    def add_to(self, values: NDArray[np.float32], start: int) -> None:
        """Add its rows from `start` on to `values`."""
        first, second = (self.base, self.chat) if self.weight > 0 else (self.chat, self.base)
        change = to_float32(read_rows(first, start, start + len(values)), first.dtype)
        change -= to_float32(read_rows(second, start, start + len(values)), second.dtype)
        if abs(self.weight) != 1:
            change *= np.float32(abs(self.weight))
        # Subtracted, because x − 0 is x for every x, where −0 + 0 is not −0.
        values -= change


@dataclass(frozen=True)
class _Rows:
    """Rows of one tensor that are taken from another as they are, in order of `own`."""

    own: NDArray[np.int64]
    chat: NDArray[np.int64]
    source: TensorInfo
    told: str

    def read(self) -> NDArray[np.float32]:
        """Their values."""
        return to_float32(gather_rows(self.source, self.chat), self.source.dtype)


def plan_chat_vector(
    base: VectorModel,
    vectors: Sequence[Vector],
    *,
    skip: Collection[Skip] | None = None,
    special_ids: Mapping[int, int] | None = None,
    dtype: str = "",
) -> ChatVectorPlan:
    """The base's tensors with the vectors added, computed in float32 and rounded once.

    Where nothing is added a tensor is the base's, byte for byte unless the dtype changes; so is a value that a
    vector does not change.  With one vector of ratio 1 whose base is `base`, each value is the chat model's but for
    the rounding of one difference and one sum: it is off by at most 2⁻²⁴ · (|chat − base| + |chat|) · (1 + 2⁻²⁴)
    before it is rounded to `dtype`.

    Args:
        base: the model that gets the vectors; its architecture is the result's.
        vectors: at least one.
        skip: what is left as the base has it; default: embeddings and head where vocabularies differ.
        special_ids: id in the result -> id in the last chat model, of the tokens whose rows are taken from there.
        dtype: F32, F16 or BF16; default: each tensor's own.

    Raises:
        InputFileError: models do not fit, or are stored in another dtype, or have no such rows.
    """
    skip = require_fit(base, vectors, skip)
    effective = [(vector, counterparts(base, vector)) for vector in vectors if not vector.is_nothing]
    planned, skipped = [], Counter[str]()
    num_changed = num_special_rows = 0
    for name in expected_tensors(base.architecture):
        parts = [
            _part(vector, names[name].name, names[name].factor) for vector, names in effective if name in names
        ]
        if (rule := _rule(name, skip)) or not parts:
            skipped[rule or ("no difference" if not effective else "router")] += 1
            parts = []
        else:
            num_changed += 1
        rows = _special_rows(base, vectors[-1].chat, name, special_ids or {})
        num_special_rows += 0 if rows is None else len(rows.own)
        planned.append(_planned(name, base.reader.tensors[name], parts, rows, dtype))
    return ChatVectorPlan(planned, skip, num_changed, skipped, num_special_rows)


def _rule(name: str, skip: Collection[Skip]) -> Skip | None:
    """Which of the rules keeps a tensor as it is."""
    rule: Skip | None = "embeddings" if name == EMBEDDING_NAME else "head" if name == HEAD_NAME else None
    if "norm" in name:
        rule = "norms"
    return rule if rule in skip else None


def _part(vector: Vector, name: str, factor: float) -> _Part:
    chat, base, weight = vector.chat.tensor(name), vector.base.tensor(name), vector.ratio * factor
    return _Part(chat, base, weight, f" + {weight!r} · ({vector.chat.label} − {vector.base.label}) of {name}")


def _special_rows(base: VectorModel, chat: VectorModel, name: str, ids: Mapping[int, int]) -> _Rows | None:
    if not ids or name not in (EMBEDDING_NAME, HEAD_NAME):
        return None
    if base.architecture.tie_word_embeddings and not chat.architecture.tie_word_embeddings:
        raise InputFileError(
            f"special_tokens: {chat.label} has one row for a token in its embedding and one in its head,"
            f" {base.label} has one for both",
            hint="leave special_tokens out",
        )
    for model, wanted in ((base, ids.keys()), (chat, ids.values())):
        if max(wanted) >= model.architecture.vocab_size:
            raise InputFileError(
                f"special_tokens: id {max(wanted)} is beyond the {model.architecture.vocab_size} rows of {model.label}"
            )
    own = sorted(ids)
    told = f", rows {own} are rows {[ids[id_] for id_ in own]} of {chat.label}"
    return _Rows(np.array(own), np.array([ids[id_] for id_ in own]), chat.tensor(name), told)


def _planned(
    name: str, source: TensorInfo, parts: Sequence[_Part], rows: _Rows | None, dtype: str
) -> PlannedTensor:
    dtype = dtype or source.dtype
    if not parts and rows is None and dtype == source.dtype:
        return converted(name, source)
    read = [source, *(info for part in parts for info in (part.chat, part.base)), *([rows.source] if rows else [])]
    for info in read:
        if info.dtype not in TORCH_NAMES:
            raise InputFileError(
                f"{info.path}: {info.name!r} is stored as {info.dtype}; chat vectors want {', '.join(TORCH_NAMES)}",
                hint="convert the checkpoint to bfloat16 first",
            )
    if not parts and rows is None:
        return converted(name, source, dtype=dtype)

    def generate() -> Iterator[NDArray[Any]]:
        taken = None if rows is None else rows.read()
        for start, stored in row_pieces(source):
            values = to_float32(stored, source.dtype)
            for part in parts:
                part.add_to(values, start)
            if rows is not None and taken is not None:
                here = (rows.own >= start) & (rows.own < start + len(values))
                values[rows.own[here] - start] = taken[here]
            yield from_float32(values, dtype)

    told = f"{name}{''.join(part.told for part in parts)}{rows.told if rows else ''}"
    origin = f"{told}{f', as {dtype}' if dtype != source.dtype else ''}"
    return PlannedTensor(name, dtype, source.shape, origin, generate, tuple(read))
