"""One mixture from several models: the base gives everything but the feed-forward layers, each expert gives those.

Llama and Mistral become Mixtral, Qwen2 becomes Qwen2-MoE with a shared expert, Qwen3 becomes Qwen3-MoE.

Source: the `moe` folder of mergekit 0.1.5 for what comes from where; the layout is the original, per-expert one.

Letters: L layers, E experts, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.copying import converted
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import (
    MATRICES,
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
from moyai.checkpoint.router import RouterDraw, drawn_router, given_router
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, mixture_of


@dataclass(frozen=True)
class ExpertModel:
    """A model whose feed-forward layers become an expert."""

    reader: CheckpointReader
    label: str
    """What it is called in the provenance."""
    noise_scale: float = 0.0
    residual_scale: float = 1.0


@dataclass(frozen=True)
class Gates:
    """Where the routers come from: drawn, or computed, [L, E, H] and for a shared expert [L, H]."""

    origin: str
    draw: RouterDraw | None = None
    routers_LEH: NDArray[np.float32] | None = None
    shared_LH: NDArray[np.float32] | None = None


def composed_architecture(
    base: CheckpointReader, architecture: Architecture, *, num_experts: int, active: int, num_shared: int
) -> Architecture:
    """The mixture that experts around a dense base make.

    Raises:
        InputFileError: the base is a mixture, or the shared expert is missing or left over.
    """
    if architecture.is_moe:
        raise InputFileError(f"{base.directory} is a mixture already", hint="compose experts around a dense model")
    mixture = mixture_of(architecture, experts=num_experts, active=active)
    wanted = 1 if mixture.shared_expert_size else 0
    if num_shared != wanted:
        raise InputFileError(
            f"shared_experts has {num_shared} entries; a mixture of {architecture.family} models,"
            f" {mixture.class_name}, has {'exactly 1' if wanted else 'none'}"
        )
    return mixture


def plan_compose(
    base: CheckpointReader,
    architecture: Architecture,
    experts: Sequence[ExpertModel],
    *,
    base_label: str,
    shared: ExpertModel | None,
    active: int,
    gates: Gates,
    dtype: str,
    seed: int,
) -> tuple[Architecture, list[PlannedTensor]]:
    """The mixture's architecture and its tensors.

    That the models fit together is for `require_compatible` to see; their tensors are checked here.

    Args:
        base: the dense model that gives embeddings, attention and norms.
        architecture: its dimensions.
        experts: in order.
        base_label: what the base is called in the provenance.
        shared: the expert that every token uses, where the family has one, else None.
        active: how many experts a token uses.
        gates: the routers.
        dtype: F32, F16 or BF16, of everything.
        seed: of noise.

    Raises:
        InputFileError: the base is a mixture, or a model is not whole, or a shared expert is missing or left over.
    """
    mixture = composed_architecture(
        base, architecture, num_experts=len(experts), active=active, num_shared=int(shared is not None)
    )
    check_complete(base.shapes, architecture, str(base.directory))
    for expert in (*experts, *([shared] if shared else [])):
        _check_feed_forward(expert.reader, architecture)
    made = {
        tensor.name: tensor
        for layer in range(mixture.num_hidden_layers)
        for tensor in _layer(layer, mixture, experts, shared, gates, dtype, seed)
    }
    return mixture, [
        made.get(name)
        or converted(name, base.tensors[name], dtype=dtype, origin=f"copy of {name} of {base_label}")
        for name in expected_tensors(mixture)
    ]


def _check_feed_forward(reader: CheckpointReader, architecture: Architecture) -> None:
    shapes = expected_tensors(architecture)
    for layer in range(architecture.num_hidden_layers):
        for matrix in MATRICES:
            name = dense_name(layer, matrix)
            if reader.shapes.get(name) != shapes[name]:
                seen = list(reader.shapes[name]) if name in reader.shapes else "missing"
                raise InputFileError(f"{reader.directory}: tensor {name!r} is {seen} instead of {list(shapes[name])}")


def _layer(
    layer: int,
    mixture: Architecture,
    experts: Sequence[ExpertModel],
    shared: ExpertModel | None,
    gates: Gates,
    dtype: str,
    seed: int,
) -> Iterator[PlannedTensor]:
    computed = None if gates.routers_LEH is None else gates.routers_LEH[layer]
    yield _router(router_name(mixture.family, layer), mixture.num_experts, mixture, gates, computed, dtype)
    for number, expert in enumerate(experts):
        for matrix in MATRICES:
            name = expert_name(mixture.family, layer, number, matrix)
            yield _matrix(name, expert, expert.reader.tensors[dense_name(layer, matrix)], dtype, seed)
    if shared is not None:
        for matrix in MATRICES:
            source = shared.reader.tensors[dense_name(layer, matrix)]
            yield _matrix(shared_expert_name(layer, matrix), shared, source, dtype, seed)
        computed = None if gates.shared_LH is None else gates.shared_LH[layer][None]
        yield _router(shared_gate_name(layer), 1, mixture, gates, computed, dtype)


def _router(
    name: str, num_rows: int, mixture: Architecture, gates: Gates, computed: NDArray[np.float32] | None, dtype: str
) -> PlannedTensor:
    if computed is not None:
        assert computed.shape == (num_rows, mixture.hidden_size), computed.shape
        return given_router(name, dtype, computed, gates.origin)
    assert gates.draw is not None, "routers are drawn or computed"
    return drawn_router(name, dtype, num_rows, mixture.hidden_size, gates.draw)


def _matrix(name: str, expert: ExpertModel, source: TensorInfo, dtype: str, seed: int) -> PlannedTensor:
    is_down = source.name.endswith(".down_proj.weight")
    factor = expert.residual_scale if is_down else 1.0
    origin = f"copy of {source.name} of {expert.label}"
    if expert.noise_scale:
        # noise comes before the factor, so it is scaled as well
        scale = expert.noise_scale * abs(factor)
        return noised(name, source, scale=scale, factor=factor, dtype=dtype, seed=seed, origin=origin)
    return converted(name, source, factor=factor, dtype=dtype, origin=origin)
