"""Routers computed from prompts: an expert's gate is what the router would see of the texts it is for.

    hidden         at the last token of each prompt
    hidden_avg     the mean over each prompt's tokens
    cheap_embed    the mean of the prompts' embedding rows, the same in every layer

A mixture's router multiplies the residual stream after the layer's second norm.  That is the vector taken here; a
gate is the mean over an expert's prompts, minus that of its negative prompts, scaled to length 1.  Each prompt is run
by itself, so that there is no padding and no prompt changes another expert's gate.

Shape letters: L layers, E experts, H hidden size, N tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer

from moyai.errors import InputFileError
from moyai.layerwise.mergekit_gates import mergekit_gates
from moyai.layerwise.model import LayerwiseModel
from moyai.progress import Progress
from moyai.recipe.expert_prompts import ExpertPrompts, GateMode

_NEARLY_PARALLEL = 0.95


@dataclass(frozen=True)
class GateSpread:
    """How well a layer's gates can be told apart."""

    condition_number: float
    """Of the matrix [E, H]: 1 where all gates are at right angles."""
    max_cosine: float
    """Of the two gates that are closest to parallel."""
    closest: tuple[int, int]
    """These two experts."""


def prompt_gates(
    base_dir: Path,
    prompts: Sequence[ExpertPrompts],
    *,
    mode: GateMode,
    behaviour: Literal["exact", "mergekit"],
    progress: Progress,
) -> NDArray[np.float32]:
    """Gates for every layer of a mixture, float32 [L, E, H], each of length 1.

    A note is given where the gates of two experts are nearly parallel: a router can hardly tell them apart.

    Args:
        base_dir: the checkpoint whose norms and attention the mixture will have.
        prompts: of each expert; cut into tokens by the model's own tokenizer, with the marks that it adds by itself.
        mode: what is taken of a prompt.
        behaviour: `exact`, in float32, as this module says, or `mergekit`, as mergekit-moe 0.1.5 computes it
            (see `mergekit_gates`).
        progress: where to tell how far it is.

    Raises:
        InputFileError: the base is no whole model, a prompt has no token, or an expert's positive and negative prompts
            cancel each other.
    """
    assert len(prompts) >= 2, "a router has at least two experts"
    if behaviour == "mergekit":
        gates_LEH = mergekit_gates(base_dir, prompts, mode=mode, progress=progress)
    else:
        gates_LEH = _unit_length(_exact_gates(base_dir, prompts, mode, progress))
    _note_parallel(gates_LEH, progress)
    return gates_LEH


def gate_spread(gates_LEH: NDArray[np.float32]) -> list[GateSpread]:
    """How well each layer's gates can be told apart.

    >>> gate_spread(np.eye(2, dtype=np.float32)[None])
    [GateSpread(condition_number=1.0, max_cosine=0.0, closest=(0, 1))]
    """
    spreads = []
    for gates_EH in gates_LEH.astype(np.float64):
        lengths_E = np.linalg.norm(gates_EH, axis=-1)
        cosines_EE = gates_EH @ gates_EH.T / np.outer(lengths_E, lengths_E)
        closest = max(combinations(range(len(gates_EH)), 2), key=lambda pair: float(cosines_EE[pair]))
        spreads.append(GateSpread(float(np.linalg.cond(gates_EH)), float(cosines_EE[closest]), closest))
    return spreads


# of a prompt: a vector [H] and how much it counts in a mean
_Weighted = tuple[NDArray[np.float64], int]


def _exact_gates(
    base_dir: Path, prompts: Sequence[ExpertPrompts], mode: GateMode, progress: Progress
) -> NDArray[np.float64]:
    model = LayerwiseModel(base_dir)
    num_layers = model.architecture.num_hidden_layers
    hidden = {text: model.embed(ids_1N) for text, ids_1N in _tokenized(base_dir, prompts).items()}
    if mode == "cheap_embed":
        embedded = {text: (_float64(rows_1NH).sum(0), rows_1NH.shape[1]) for text, rows_1NH in hidden.items()}
        return np.repeat(_gates_of(prompts, embedded)[None], num_layers, axis=0)
    gates = []
    with progress.bar("gates", total=num_layers, unit="layers") as bar:
        for layer in model.layers():
            seen: dict[str, _Weighted] = {}
            for text, hidden_1NH in hidden.items():
                output = layer(hidden_1NH)
                hidden[text] = output.hidden_BLH
                seen_NH = _float64(output.feed_forward.input_BLH)
                seen[text] = (seen_NH[-1] if mode == "hidden" else seen_NH.mean(0)), 1
            gates.append(_gates_of(prompts, seen))
            bar.advance(1)
    return np.stack(gates)


def _tokenized(base_dir: Path, prompts: Sequence[ExpertPrompts]) -> dict[str, torch.Tensor]:
    """Token ids [1, N] of every prompt."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base_dir, trust_remote_code=False)
    found = {}
    for number, expert in enumerate(prompts):
        for text in (*expert.positive, *expert.negative):
            ids = tokenizer(text)["input_ids"]
            if not ids:
                raise InputFileError(f"prompt {text!r} of expert {number} has no token", hint="give it some words")
            found[text] = torch.tensor([ids])
    return found


def _gates_of(prompts: Sequence[ExpertPrompts], vectors: Mapping[str, _Weighted]) -> NDArray[np.float64]:
    return np.stack([_mean(expert.positive, vectors) - _mean(expert.negative, vectors) for expert in prompts])


def _mean(texts: Sequence[str], vectors: Mapping[str, _Weighted]) -> NDArray[np.float64] | float:
    if not texts:
        return 0.0
    total_H: NDArray[np.float64] = np.sum([vectors[text][0] for text in texts], axis=0)
    return total_H / sum(vectors[text][1] for text in texts)


def _float64(values_1NH: torch.Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values_1NH[0].double().numpy()
    return array


def _unit_length(gates_LEH: NDArray[np.float64]) -> NDArray[np.float32]:
    lengths_LE1 = np.linalg.norm(gates_LEH, axis=-1, keepdims=True)
    if not lengths_LE1.all():
        layer, expert, _ = np.argwhere(lengths_LE1 == 0)[0]
        raise InputFileError(
            f"the gate of expert {expert} is zero in layer {layer}: its positive and negative prompts cancel each other",
            hint="use prompts that differ",
        )
    unit_LEH: NDArray[np.float32] = (gates_LEH / lengths_LE1).astype(np.float32)
    return unit_LEH


def _note_parallel(gates_LEH: NDArray[np.float32], progress: Progress) -> None:
    spreads = gate_spread(gates_LEH)
    parallel = [layer for layer, spread in enumerate(spreads) if spread.max_cosine > _NEARLY_PARALLEL]
    if parallel:
        worst = max(parallel, key=lambda layer: spreads[layer].max_cosine)
        one, other = spreads[worst].closest
        progress.note(
            f"gates are nearly parallel (cosine over {_NEARLY_PARALLEL}) in {len(parallel)} of {len(spreads)} layers;"
            f" closest are experts {one} and {other} in layer {worst} with {spreads[worst].max_cosine:.4f}, condition number"
            f" {spreads[worst].condition_number:.3g}: the router can hardly tell them apart"
        )
