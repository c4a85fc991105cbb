"""The models of chat vectors: whether they fit the base, and which of their tensors is added where."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from moyai.checkpoint.compatibility import config_differences, differences, vocabulary_differences
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import (
    EMBEDDING_NAME,
    HEAD_NAME,
    MATRICES,
    check_complete,
    dense_name,
    expected_tensors,
    expert_name,
    shared_expert_name,
)
from moyai.checkpoint.model_directory import ORIGINS_NAME, read_origins
from moyai.checkpoint.reader import CheckpointReader
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, mixture_of, read_architecture, read_config
from moyai.recipe.chat_vector import Skip

# As `converted` says it: a copy, perhaps of another model's, perhaps times a number, perhaps in another dtype.
_COPY = re.compile(r"copy of (?P<name>\S+?)( of .+?)?(, times (?P<factor>[0-9.e+-]+))?(, as (F32|F16|BF16))?")


@dataclass(frozen=True)
class VectorModel:
    """One of a vector's two models."""

    label: str
    """What it is called in messages and in the provenance."""
    reader: CheckpointReader
    architecture: Architecture

    @classmethod
    def read(cls, label: str, reader: CheckpointReader) -> VectorModel:
        """The model in a checkpoint directory.

        Raises:
            InputFileError: its config cannot be read, or its tensors do not fit it.
        """
        architecture = read_architecture(reader.directory)
        check_complete(reader.shapes, architecture, str(reader.directory))
        return cls(label, reader, architecture)

    def tensor(self, name: str) -> TensorInfo:
        """A stored tensor; the head of a tied model is its embedding."""
        tied = name == HEAD_NAME and self.architecture.tie_word_embeddings
        return self.reader.tensors[EMBEDDING_NAME if tied else name]


@dataclass(frozen=True)
class Vector:
    """What `chat` has become beyond `base`, times `ratio`."""

    chat: VectorModel
    base: VectorModel
    ratio: float = 1.0

    @property
    def is_nothing(self) -> bool:
        """Whether it changes no weight, whatever the weights are."""
        return self.ratio == 0 or self.chat.reader.directory.resolve() == self.base.reader.directory.resolve()


def require_fit(base: VectorModel, vectors: Sequence[Vector], skip: Collection[Skip] | None) -> tuple[Skip, ...]:
    """Check that all vectors can be added to the base; returns what is skipped.

    Args:
        base: the model that they are added to.
        vectors: in order.
        skip: what the user says; None: embeddings and head where any vocabulary differs from the base's.

    Raises:
        InputFileError: families, dimensions or rotary positions differ, or the shapes of tensors that are not
            skipped; everything is told at once.
    """
    # labels are not unique: two models may lie in directories of one name
    others = {model.reader.directory: model for vector in vectors for model in (vector.chat, vector.base)}
    skipped: tuple[Skip, ...] = () if skip is None else tuple(skip)
    if skip is None and any(_vocabulary_differs(base, other) for other in others.values()):
        skipped = ("embeddings", "head")
    faults = [
        f"{other.label}: {', '.join(found)}" for other in others.values() if (found := _faults(base, other, skipped))
    ]
    faults += [
        f"of {vector.chat.label} and {vector.base.label} one is a mixture, the other is not"
        for vector in vectors
        if vector.chat.architecture.is_moe != vector.base.architecture.is_moe
    ]
    if faults:
        raise InputFileError(
            f"these models do not fit the base {base.label}: {'; '.join(faults)}",
            hint="a chat vector goes with models of the same parent; `skip: [embeddings, head]` allows another vocabulary",
        )
    return skipped


@dataclass(frozen=True)
class Counterpart:
    """The tensor of a vector's models that belongs to one of the base's."""

    name: str
    factor: float = 1.0
    """What the base has of it, where it was scaled in upcycling."""


def counterparts(base: VectorModel, vector: Vector) -> dict[str, Counterpart]:
    """For each tensor of the base, by name, the one of the vector; those of a mixture's routing have none.

    A dense vector is added to every expert of a mixture, and to its shared expert, if each of them is still a
    copy of a dense layer.  What a copy was multiplied with, its part of the vector is multiplied with as well.

    Raises:
        InputFileError: an expert is no plain copy.
    """
    names = {name: Counterpart(name) for name in expected_tensors(base.architecture)}
    if base.architecture.is_moe == vector.chat.architecture.is_moe:
        return names
    same = {name: found for name, found in names.items() if ".mlp." not in name and ".block_sparse_moe." not in name}
    return same | dict(_experts(base))


def _experts(base: VectorModel) -> Iterator[tuple[str, Counterpart]]:
    path, origins = base.reader.directory / ORIGINS_NAME, read_origins(base.reader.directory)
    a = base.architecture
    for layer in range(a.num_hidden_layers):
        for matrix in MATRICES:
            dense = dense_name(layer, matrix)
            names = [expert_name(a.family, layer, expert, matrix) for expert in range(a.num_experts)]
            for name in [*names, *([shared_expert_name(layer, matrix)] if a.shared_expert_size else [])]:
                told = origins.get(name)
                copy = _COPY.fullmatch(told) if told else None
                if copy is None or copy["name"] != dense:
                    raise InputFileError(
                        f"a dense vector has no place in the mixture {base.label}: tensor {name!r} is not a plain copy"
                        f" of {dense} ({f'{path} says {told!r}' if told else f'{path} does not say what it is'})",
                        hint="add the chat vector to the dense model, then upcycle it",
                    )
                yield name, Counterpart(dense, float(copy["factor"] or 1.0))


def _faults(base: VectorModel, other: VectorModel, skip: Collection[Skip]) -> list[str]:
    found = differences(_dense_view(base.architecture, other.architecture), other.architecture)
    found += config_differences(*(read_config(model.reader.directory) for model in (base, other)))
    untied = base.architecture.tie_word_embeddings and not other.architecture.tie_word_embeddings
    if not {"embeddings", "head"} & set(skip) and untied:
        found.append("its head is a tensor of its own, the base's is its embedding")
    if not {"embeddings", "head"} <= set(skip) and other.architecture.vocab_size != base.architecture.vocab_size:
        found.append(f"the vocabulary has {other.architecture.vocab_size} rows, not {base.architecture.vocab_size}")
    return found


def _dense_view(base: Architecture, other: Architecture) -> Architecture:
    """The dense model that a mixture would be a copy of, if `other` could be one of that kind."""
    if not base.is_moe or other.is_moe or mixture_of(other, experts=2, active=1).family != base.family:
        return base
    dense = {"num_experts": 1, "num_active_experts": 1, "norm_topk_prob": True, "shared_expert_size": 0}
    return Architecture.model_validate(base.model_dump() | dense | {"family": other.family})


def _vocabulary_differs(base: VectorModel, other: VectorModel) -> bool:
    first, second = base.reader.directory, other.reader.directory
    return bool(vocabulary_differences(first, second, base.architecture, other.architecture))
