"""One decoder layer in memory: transformers' own module, with a look at what its feed-forward part sees and says.

Shape letters: B sequences, L tokens of each, T = B · L tokens, H hidden size, E experts, K chosen experts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Routing:
    """What a layer's router said."""

    logits_TE: torch.Tensor
    chosen_TK: torch.Tensor
    """int64: numbers of the experts, best first."""


@dataclass(frozen=True)
class FeedForward:
    """What went into a layer's feed-forward part and what came out."""

    input_BLH: torch.Tensor
    """The residual stream after the second norm: what a router or the dense matrices see."""
    output_BLH: torch.Tensor
    """What is added to the residual stream."""
    routing: Routing | None
    """None where the layer is dense."""


@dataclass(frozen=True)
class LayerOutput:
    """What one layer made of a batch."""

    hidden_BLH: torch.Tensor
    """The residual stream behind the layer."""
    feed_forward: FeedForward


# (number of the layer, hidden_BLH, padding_BL) to the arguments that transformers gives the layer besides
Surroundings = Callable[[int, torch.Tensor, torch.Tensor | None], Mapping[str, Any]]


class Layer:
    """A decoder layer with its weights; valid until the next one is loaded."""

    def __init__(self, index: int, module: nn.Module, surroundings: Surroundings) -> None:
        self.index = index
        self._module: nn.Module | None = module
        self._surroundings = surroundings
        self._seen: dict[str, Any] = {}
        feed_forward: Any = module.mlp
        feed_forward.register_forward_hook(self._see_feed_forward)
        if hasattr(feed_forward, "experts"):
            feed_forward.gate.register_forward_hook(self._see_router)

    def __call__(self, hidden_BLH: torch.Tensor, padding_BL: torch.Tensor | None = None) -> LayerOutput:
        """Run the layer.

        Args:
            hidden_BLH: the residual stream in front of it, in the model's dtype.
            padding_BL: bool, True where a token is padding and is seen by none; positions count padding too.
        """
        with torch.no_grad():
            arguments = self._surroundings(self.index, hidden_BLH, padding_BL)
            behind_BLH: torch.Tensor = self._loaded(hidden_BLH, **arguments)
        return LayerOutput(behind_BLH, self._take_seen())

    def feed_forward(self, input_BLH: torch.Tensor) -> FeedForward:
        """Run the feed-forward part alone on what it would see."""
        with torch.no_grad():
            self._loaded.mlp(input_BLH)
        return self._take_seen()

    def release(self) -> None:
        """Let go of the weights."""
        self._module = None

    @property
    def _loaded(self) -> Any:
        assert self._module is not None, f"layer {self.index} is used after the next one was loaded"
        return self._module

    def _see_feed_forward(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._seen["input"], self._seen["output"] = inputs[0], output

    def _see_router(self, module: nn.Module, inputs: Any, output: tuple[torch.Tensor, ...]) -> None:
        logits_TE, _, chosen_TK = output
        self._seen["routing"] = Routing(logits_TE, chosen_TK)

    def _take_seen(self) -> FeedForward:
        seen, self._seen = self._seen, {}
        return FeedForward(seen["input"], seen["output"], seen.get("routing"))
