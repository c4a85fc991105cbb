"""Two checkpoints run layer by layer, side by side, on the same tokens: how far apart they are, and where.

One layer of each is in memory at a time, and the hidden states of all tokens of both.

Shape letters: B sequences, L tokens of a window, T tokens in all, H hidden size, E experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from moyai.errors import FailedError, InputFileError
from moyai.layerwise.layer import Layer, Routing
from moyai.layerwise.logits import NO_TARGET, LogitComparison, compare_logits
from moyai.layerwise.model import LayerwiseModel
from moyai.layerwise.router_figures import RouterCount, RouterFigures
from moyai.progress import Bar


@dataclass(frozen=True)
class LayerComparison:
    """One layer of both models."""

    max_abs_hidden_difference: float
    """Between the two residual streams behind the layer; it holds what all layers before have added up to."""
    max_local_ulp: float
    """Between the two feed-forward parts on the same input, the first model's; in units in the last place of
    float32 at the largest value of each output vector."""
    routers: tuple[RouterFigures | None, RouterFigures | None]
    """Each model's, on its own hidden states; None where it is dense."""
    unused_experts: tuple[tuple[int, ...], tuple[int, ...]]
    """Experts of each model that no token chose when the feed-forward parts were compared."""


@dataclass(frozen=True)
class Comparison:
    """Both models on some text."""

    num_tokens: int
    layers: tuple[LayerComparison, ...]
    logits: LogitComparison


def compare_layerwise(
    first: LayerwiseModel, second: LayerwiseModel, windows_BL: Sequence[torch.Tensor], bar: Bar
) -> Comparison:
    """Run both models on windows of token ids, each on its own.

    Args:
        first: the model whose hidden states both feed-forward parts are given.
        second: the other.
        windows_BL: int64; at least one has two tokens.
        bar: advanced by as many tokens as the windows have, in small parts.

    Raises:
        InputFileError: the models differ in vocabulary, hidden size or number of layers.
        FailedError: a model computes something that is not a number.
    """
    _check_shapes(first, second)
    models = (first, second)
    num_tokens = sum(window_BL.numel() for window_BL in windows_BL)
    per_part = 1 / (first.architecture.num_hidden_layers + 1)
    hidden = [[model.embed(window_BL) for window_BL in windows_BL] for model in models]
    layers = []
    for pair in zip(first.layers(), second.layers(), strict=True):
        run = _LayerRun(models, pair)
        for number, window_BL in enumerate(windows_BL):
            run.step(hidden, number)
            bar.advance(window_BL.numel() * per_part)
        layers.append(run.result())
    hidden_TH = [torch.cat([window_BLH.flatten(0, 1) for window_BLH in windows]) for windows in hidden]
    targets_T = torch.cat([next_tokens(window_BL).flatten() for window_BL in windows_BL])
    logits = compare_logits(models, hidden_TH, targets_T, lambda share: bar.advance(share * num_tokens * per_part))
    if not math.isfinite(logits.max_abs + logits.max_abs_difference):
        raise FailedError(f"{first.directory} or {second.directory} gives logits that are not numbers")
    return Comparison(num_tokens, tuple(layers), logits)


def next_tokens(ids_BL: torch.Tensor) -> torch.Tensor:
    """The token that follows each one in its row.

    >>> next_tokens(torch.tensor([[5, 6, 7]])).tolist()
    [[6, 7, -1]]
    """
    return torch.nn.functional.pad(ids_BL[:, 1:], (0, 1), value=NO_TARGET)


def ulp_distance(ours_BLH: torch.Tensor, theirs_BLH: torch.Tensor) -> float:
    """Largest difference of two float32 tensors, each vector measured in float32's spacing at its own largest value.

    >>> ulp_distance(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.5 + 2**-22]]))
    2.0
    """
    spacing_BL = torch.from_numpy(np.spacing(ours_BLH.abs().amax(-1).numpy()))
    ulps_BL = (ours_BLH - theirs_BLH).abs().amax(-1).double() / spacing_BL.double()
    return float(ulps_BL.max())


def _check_shapes(first: LayerwiseModel, second: LayerwiseModel) -> None:
    for name in ("vocab_size", "hidden_size", "num_hidden_layers"):
        ours, theirs = getattr(first.architecture, name), getattr(second.architecture, name)
        if ours != theirs:
            raise InputFileError(
                f"{first.directory} has {name} {ours} and {second.directory} {theirs}",
                hint="only models of the same outline can be compared layer by layer",
            )


class _LayerRun:
    """One layer of both models over all windows."""

    def __init__(self, models: Sequence[LayerwiseModel], layers: Sequence[Layer]) -> None:
        self._models, self._layers = models, layers
        self._max_hidden = self._max_ulp = 0.0
        self._own, self._local = (
            [RouterCount(model.architecture.num_experts) if model.architecture.is_moe else None for model in models]
            for _ in range(2)
        )

    def step(self, hidden: list[list[torch.Tensor]], number: int) -> None:
        """Take window `number` of both models behind the layer."""
        outputs = [layer(windows[number]) for layer, windows in zip(self._layers, hidden, strict=True)]
        for side, output in enumerate(outputs):
            _check_finite(output.hidden_BLH, self._models[side], self._layers[side])
            _count(self._own[side], output.feed_forward.routing)
            hidden[side][number] = output.hidden_BLH
        difference_BLH = outputs[0].hidden_BLH - outputs[1].hidden_BLH
        self._max_hidden = max(self._max_hidden, difference_BLH.abs().max().item())
        ours = outputs[0].feed_forward
        theirs = self._layers[1].feed_forward(ours.input_BLH)
        _check_finite(theirs.output_BLH, self._models[1], self._layers[1])
        self._max_ulp = max(self._max_ulp, ulp_distance(ours.output_BLH, theirs.output_BLH))
        _count(self._local[0], ours.routing)
        _count(self._local[1], theirs.routing)

    def result(self) -> LayerComparison:
        own = [None if counted is None else counted.figures() for counted in self._own]
        unused = [() if counted is None else counted.unused for counted in self._local]
        return LayerComparison(self._max_hidden, self._max_ulp, (own[0], own[1]), (unused[0], unused[1]))


def _count(counted: RouterCount | None, routing: Routing | None) -> None:
    if counted is not None and routing is not None:
        counted.add(routing)


def _check_finite(values: torch.Tensor, model: LayerwiseModel, layer: Layer) -> None:
    if not values.isfinite().all():
        raise FailedError(
            f"{model.directory} computes values that are not finite numbers in layer {layer.index}",
            hint="its weights may be damaged, or beyond what float32 holds",
        )
