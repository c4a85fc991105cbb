"""The certificate: is one model the same function as another?  What was compared, the figures, and the verdict.

Both run on real text in float32, layer by layer and in lock step.  They pass as one function if

    the feed-forward parts     of every layer agree on the same input to `WHOLE_ULP_BOUND`
    the logits                 agree within the tolerance, at every position and over the whole vocabulary
    the other tensors          (embedding, norms, attention, head) hold the same numbers
    experts that no token      chose hold the numbers of the layer they stand for

The layers are transformers' own and none of our scoring code takes part, so it cannot share a mistake with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from moyai.evaluation.claim import claimed_method
from moyai.evaluation.shared_tensors import SharedTensors, Stored, compare_shared, same_expert
from moyai.layerwise.lockstep import Comparison, LayerComparison, compare_layerwise
from moyai.layerwise.model import LayerwiseModel
from moyai.layerwise.router_figures import RouterFigures
from moyai.progress import Bar

WHOLE_ULP_BOUND = 16
"""For experts as wide as the layer they stand for.  Measured: copies differ by up to 7 units in the last place.  A
weight that is off by 1e-3 makes hundreds."""

CUT_ULP_BOUND = 64
"""For experts that hold a part of a layer, whose sums are taken in another order.  Measured: up to 9 for a layer cut into
8, up to 20 for one cut into 64; the dense layer itself is up to 37 away from its value in float64."""

WINDOW_TOKENS = 256

Verdict = Literal["PASS", "FAIL", "NOT THE SAME FUNCTION"]

_MAX_LISTED = 8


@dataclass(frozen=True)
class Certificate:
    """The figures of a comparison and what follows from them."""

    comparison: Comparison
    shared: SharedTensors
    unproven_experts: tuple[str, ...]
    """Never chosen on this text, and not what stands in their place in the other model."""
    method: str | None
    """What the model was upcycled by, where it says so."""
    claims_same: bool
    """Whether that method keeps the parent's function."""
    holds_up_to_tokens: int | None
    """Where the two limit attention differently: the length of text from which on they may part."""
    local_ulp_bound: int
    tolerance: float

    @property
    def verdict(self) -> Verdict:
        """PASS, or FAIL for a model that claims to be the same function, or else that it is another one."""
        if not self.reasons:
            return "PASS"
        return "FAIL" if self.claims_same else "NOT THE SAME FUNCTION"

    @property
    def max_local_ulp(self) -> float:
        """The largest of all layers."""
        return max(layer.max_local_ulp for layer in self.comparison.layers)

    @property
    def reasons(self) -> list[str]:
        """What speaks against one function; empty if nothing does."""
        logits, found = self.comparison.logits, []
        if self.max_local_ulp > self.local_ulp_bound:
            beyond = [n for n, layer in enumerate(self.comparison.layers) if layer.max_local_ulp > self.local_ulp_bound]
            found.append(
                f"layers whose feed-forward parts differ on the same input: {_listed(beyond)}, by up to"
                f" {self.max_local_ulp:.3g} units in the last place, more than {self.local_ulp_bound}"
            )
        if logits.max_abs_difference > self.tolerance:
            found.append(f"logits differ by up to {logits.max_abs_difference:.3g}, more than {self.tolerance:g}")
        if self.shared.different:
            found.append(f"tensors that should be equal and are not: {_listed(self.shared.different)}")
        if self.unproven_experts:
            found.append(
                "experts that no token chose and that are not the parent's layer either:"
                f" {_listed(self.unproven_experts)}; more tokens may reach them"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `certificate.json`."""
        logits, layers = self.comparison.logits, self.comparison.layers
        against_loss, loss = logits.losses
        return {
            "verdict": self.verdict,
            "same_function": self.verdict == "PASS",
            "reasons": self.reasons,
            "method": self.method,
            "max_abs_logit_difference": logits.max_abs_difference,
            "mean_abs_logit_difference": logits.mean_abs_difference,
            "max_abs_logit": logits.max_abs,
            "tolerance": self.tolerance,
            "loss_against": against_loss,
            "loss": loss,
            "loss_difference": loss - against_loss,
            "max_local_ulp": self.max_local_ulp,
            "local_ulp_bound": self.local_ulp_bound,
            "max_abs_hidden_difference": max(layer.max_abs_hidden_difference for layer in layers),
            "num_identical_tensors": len(self.shared.identical),
            "num_different_tensors": len(self.shared.different),
            "holds_up_to_tokens": self.holds_up_to_tokens,
            "router_against": _overall([layer.routers[0] for layer in layers]),
            "router": _overall([layer.routers[1] for layer in layers]),
            "num_tokens": self.comparison.num_tokens,
            "window_tokens": WINDOW_TOKENS,
            "dtype": "float32",
            "layers": [_layer_dict(number, layer) for number, layer in enumerate(layers)],
        }


def certify(against_dir: Path, model_dir: Path, ids: Sequence[int], *, tolerance: float, bar: Bar) -> Certificate:
    """Compare a checkpoint with the one that it may be the same function as.

    At most one layer of each is in memory, and the hidden states of all tokens.  The text is cut into windows of 256
    tokens, each on its own.

    Args:
        against_dir: the parent.
        model_dir: the mixture, or any other model of the same outline.
        ids: at least two token ids of real text.
        tolerance: largest |Δ logit| at which the two count as one function.
        bar: advanced by tokens.

    Raises:
        InputFileError: a directory holds no whole model, or the two differ in vocabulary, hidden size or layers.
        FailedError: a model computes something that is not a number.
    """
    against, model = LayerwiseModel(against_dir), LayerwiseModel(model_dir)
    windows_1L = torch.tensor(ids)[None].split(WINDOW_TOKENS, dim=1)
    comparison = compare_layerwise(against, model, windows_1L, bar)
    stored = Stored(against.architecture, against.reader), Stored(model.architecture, model.reader)
    method, claims_same = claimed_method(model_dir, model.architecture)
    widths = {against.architecture.intermediate_size, model.architecture.intermediate_size}
    windows = {against.attention_window, model.attention_window}
    return Certificate(
        comparison,
        compare_shared(*stored),
        tuple(_unproven(comparison.layers, stored)),
        method,
        claims_same,
        min(window for window in windows if window) if len(windows) > 1 else None,
        WHOLE_ULP_BOUND if len(widths) == 1 else CUT_ULP_BOUND,
        tolerance,
    )


def _unproven(layers: Sequence[LayerComparison], stored: tuple[Stored, Stored]) -> Iterator[str]:
    for number, layer in enumerate(layers):
        for side, unused in enumerate(layer.unused_experts):
            for expert in unused:
                if not same_expert(stored[side], expert, stored[1 - side], number):
                    yield f"{expert} of layer {number}"


def _overall(figures: Sequence[RouterFigures | None]) -> dict[str, float] | None:
    known = [layer for layer in figures if layer is not None]
    if not known:
        return None
    return {
        "min_load": round(min(min(layer.load) for layer in known), 6),
        "max_load": round(max(max(layer.load) for layer in known), 6),
        "entropy_of_mean": round(fmean(layer.entropy_of_mean for layer in known), 6),
        "mean_entropy": round(fmean(layer.mean_entropy for layer in known), 6),
    }


def _layer_dict(number: int, layer: LayerComparison) -> dict[str, Any]:
    row: dict[str, Any] = {
        "layer": number,
        "max_abs_hidden_difference": layer.max_abs_hidden_difference,
        "max_local_ulp": layer.max_local_ulp,
    }
    for key, figures in zip(("router_against", "router"), layer.routers, strict=True):
        if figures is not None:
            row[key] = {
                "load": [round(share, 6) for share in figures.load],
                "entropy_of_mean": round(figures.entropy_of_mean, 6),
                "mean_entropy": round(figures.mean_entropy, 6),
            }
    return row


def _listed(items: Sequence[object]) -> str:
    more = [f"and {len(items) - _MAX_LISTED} more"] if len(items) > _MAX_LISTED else []
    return ", ".join([str(item) for item in items[:_MAX_LISTED]] + more)
