"""From a dense model to a mixture whose experts start from its feed-forward layers.

    copy             every expert is the parent's feed-forward layer: the same function as the parent
    noise            the same, with noise added to a share of each matrix's channels
    drop             Drop-Upcycling: a share of each matrix's channels drawn anew
    virtual-group    every expert is a G-th of the layer, and G of them together are the layer

Llama and Mistral become Mixtral, Qwen2 becomes Qwen2-MoE, Qwen3 becomes Qwen3-MoE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.copying import converted, copied
from moyai.checkpoint.drop import dropped
from moyai.checkpoint.dtypes import TORCH_NAMES
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import (
    MATRICES,
    Matrix,
    check_complete,
    dense_name,
    expected_tensors,
    expert_name,
    router_name,
    shared_expert_name,
    shared_gate_name,
)
from moyai.checkpoint.noise import noised
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.router import RouterDraw, drawn_router, given_router, zero_gate
from moyai.checkpoint.virtual_group import expert_shard, group_router
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, mixture_of
from moyai.recipe.settings import UpcycleSettings

# Where every token also uses a shared expert, which weighs sigmoid(0) = 1/2 at first, the others carry the rest.
_ROUTED_HALF = 0.5


def plan_upcycle(
    reader: CheckpointReader,
    architecture: Architecture,
    settings: UpcycleSettings,
    routers_LEH: NDArray[np.float32] | None = None,
) -> tuple[Architecture, list[PlannedTensor]]:
    """The mixture's architecture and its tensors, each stored in its parent's dtype.

    Qwen2-MoE has an expert that every token uses besides the chosen ones.  It is the parent's layer, its gate is zero
    and so weighs it with 1/2, and the down projections of the other experts are halved, which is exact: `copy`
    is the parent's function there too.

    Every random stream is keyed by the seed and a tensor's name, so the bytes depend neither on the order of the
    work nor on the number of threads.

    A sliding window of a Mistral parent is not carried over: Mixtral attends to everything.

    Args:
        reader: the dense checkpoint.
        architecture: its dimensions.
        settings: what to make of it.
        routers_LEH: routers computed from prompts, [layers, experts, hidden size]; default: drawn.

    Raises:
        InputFileError: the parent is a mixture already, is not whole, its weights are not F32, F16 or BF16, or
            its channels cannot be divided by the granularity.
    """
    if architecture.is_moe:
        raise InputFileError(f"{reader.directory} is a mixture already", hint="upcycle a dense model")
    check_complete(reader.shapes, architecture, str(reader.directory))
    _check_dtypes(reader, architecture)
    granularity = settings.granularity
    if architecture.intermediate_size % granularity:
        raise InputFileError(
            f"{reader.directory} has {architecture.intermediate_size} intermediate channels,"
            f" which granularity {granularity} does not divide"
        )
    mixture = mixture_of(
        architecture,
        experts=settings.experts,
        active=settings.active,
        expert_size=architecture.intermediate_size // granularity,
    )
    made = {
        tensor.name: tensor
        for layer in range(mixture.num_hidden_layers)
        for tensor in _layer(reader, mixture, layer, settings, None if routers_LEH is None else routers_LEH[layer])
    }
    names = expected_tensors(mixture)
    return mixture, [made.get(name) or copied(name, reader.tensors[name]) for name in names]


def _check_dtypes(reader: CheckpointReader, architecture: Architecture) -> None:
    for layer in range(architecture.num_hidden_layers):
        for matrix in MATRICES:
            info = reader.tensors[dense_name(layer, matrix)]
            if info.dtype not in TORCH_NAMES:
                raise InputFileError(
                    f"{info.path}: {info.name!r} is stored as {info.dtype}; upcycling wants {', '.join(TORCH_NAMES)}",
                    hint="convert the checkpoint to bfloat16 first",
                )


def _layer(
    reader: CheckpointReader,
    mixture: Architecture,
    layer: int,
    settings: UpcycleSettings,
    router_EH: NDArray[np.float32] | None,
) -> Iterator[PlannedTensor]:
    parents: dict[Matrix, TensorInfo] = {matrix: reader.tensors[dense_name(layer, matrix)] for matrix in MATRICES}
    yield _router(router_name(mixture.family, layer), parents["gate"].dtype, mixture, settings, router_EH)
    make = _METHODS[settings.method]
    for expert in range(mixture.num_experts):
        for matrix, parent in parents.items():
            name = expert_name(mixture.family, layer, expert, matrix)
            half = mixture.shared_expert_size > 0 and matrix == "down"
            yield make(name, parent, (layer, expert, matrix), settings, _ROUTED_HALF if half else 1.0)
    if mixture.shared_expert_size:
        for matrix, parent in parents.items():
            yield copied(shared_expert_name(layer, matrix), parent)
        yield zero_gate(shared_gate_name(layer), parents["gate"].dtype, mixture.hidden_size)


def _router(
    name: str, dtype: str, mixture: Architecture, settings: UpcycleSettings, router_EH: NDArray[np.float32] | None
) -> PlannedTensor:
    if router_EH is not None:
        assert router_EH.shape == (mixture.num_experts, mixture.hidden_size), router_EH.shape
        return given_router(name, dtype, router_EH, f"from prompts, {settings.gate_mode}")
    draw = RouterDraw("uniform" if settings.router == "uniform" else "normal", settings.router_std, settings.seed)
    if settings.granularity > 1:
        return group_router(name, dtype, mixture.num_experts, mixture.hidden_size, draw, settings.granularity)
    return drawn_router(name, dtype, mixture.num_experts, mixture.hidden_size, draw)


_Place = tuple[int, int, Matrix]


def _copy(
    name: str, parent: TensorInfo, place: _Place, settings: UpcycleSettings, factor: float
) -> PlannedTensor:
    return converted(name, parent, factor=factor)


def _noise(
    name: str, parent: TensorInfo, place: _Place, settings: UpcycleSettings, factor: float
) -> PlannedTensor:
    return noised(
        name,
        parent,
        scale=settings.noise_scale,
        share=settings.noise_share,
        channel_axis=_channel_axis(place[2]),
        factor=factor,
        seed=settings.seed,
    )


def _drop(
    name: str, parent: TensorInfo, place: _Place, settings: UpcycleSettings, factor: float
) -> PlannedTensor:
    layer, expert, matrix = place
    return dropped(
        name,
        parent,
        expert=f"model.layers.{layer}.block_sparse_moe.experts.{expert}",
        channel_axis=_channel_axis(matrix),
        share=settings.reinit,
        index_sets=settings.index_sets,
        factor=factor,
        seed=settings.seed,
    )


def _virtual_group(
    name: str, parent: TensorInfo, place: _Place, settings: UpcycleSettings, factor: float
) -> PlannedTensor:
    _, expert, matrix = place
    return expert_shard(
        name,
        parent,
        matrix=matrix,
        shard=expert % settings.granularity,
        granularity=settings.granularity,
        scaling=settings.scaling,
        factor=factor,
    )


def _channel_axis(matrix: Matrix) -> int:
    return 1 if matrix == "down" else 0


# The one table of methods, beside the choices in UpcycleSettings.
_METHODS: dict[str, Callable[[str, TensorInfo, _Place, UpcycleSettings, float], PlannedTensor]] = {
    "copy": _copy,
    "noise": _noise,
    "drop": _drop,
    "virtual-group": _virtual_group,
}
