"""Gates as mergekit-moe 0.1.5 computes them, so that its configs give the same routers here.

It differs from what a router sees in four ways: the base runs in bfloat16; what is taken is the residual stream at a
layer's input, before any norm; an expert's prompts are padded on the left to one length with the bos token, and the
mean of `hidden_avg` counts the padding; and `cheap_embed` scales both sides to length 1 before one is subtracted.

Source: `mergekit/moe/router.py` and `mergekit/scripts/moe.py` of mergekit 0.1.5.

Shape letters: L layers, E experts, H hidden size, B prompts of an expert, N tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer

from moyai.errors import InputFileError
from moyai.layerwise.model import LayerwiseModel
from moyai.progress import Progress
from moyai.recipe.expert_prompts import ExpertPrompts, GateMode

_SHORTEST = 1e-8


def mergekit_gates(
    base_dir: Path, prompts: Sequence[ExpertPrompts], *, mode: GateMode, progress: Progress
) -> NDArray[np.float32]:
    """Gates for every layer, float32 [L, E, H]; in the hidden modes their values are bfloat16's.

    Raises:
        InputFileError: the base is no whole model, or a prompt and the bos token have no token.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(base_dir, trust_remote_code=False)
    batches = [
        (_batch(tokenizer, expert.positive), _batch(tokenizer, expert.negative) if expert.negative else None)
        for expert in prompts
    ]
    if mode == "cheap_embed":
        model = LayerwiseModel(base_dir)
        sums = [
            (_embedding_sum(model, positive), _embedding_sum(model, negative) if negative else None)
            for positive, negative in batches
        ]
        layers: list[list[_Vectors]] = [sums] * model.architecture.num_hidden_layers
    else:
        layers = list(_hidden_means(LayerwiseModel(base_dir, dtype=torch.bfloat16), batches, mode, progress))
    gates_LEH = torch.stack([torch.stack([_gate(*pair) for pair in pairs]) for pairs in layers])
    array: NDArray[np.float32] = gates_LEH.float().numpy()
    return array


@dataclass(frozen=True)
class _Batch:
    """Some prompts, padded on the left."""

    ids_BN: torch.Tensor
    padding_BN: torch.Tensor
    """True where there is padding."""


# of one expert: what comes of its positive prompts, and of its negative ones where it has any
_Batches = tuple[_Batch, _Batch | None]
_Vectors = tuple[torch.Tensor, torch.Tensor | None]


def _batch(tokenizer: Any, texts: Sequence[str]) -> _Batch:
    padding_id = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    with_mark = [(tokenizer.bos_token or "") + text for text in texts]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in with_mark]
    longest = max(map(len, ids))
    lengths_B1 = torch.tensor([[len(one)] for one in ids])
    if not lengths_B1.all() or (padding_id is None and (lengths_B1 < longest).any()):
        raise InputFileError(
            f"the prompts {list(texts)} cannot be padded to one length: one is empty, or the tokenizer of"
            f" {tokenizer.name_or_path} has neither a bos nor an eos token"
        )
    ids_BN = torch.tensor([[padding_id] * (longest - len(one)) + one for one in ids])
    return _Batch(ids_BN, torch.arange(longest)[None] < longest - lengths_B1)


def _hidden_means(
    model: LayerwiseModel, batches: Sequence[_Batches], mode: GateMode, progress: Progress
) -> Iterator[list[_Vectors]]:
    """Of each layer, each expert's mean over prompts of the residual stream in front of it."""
    flat = [batch for pair in batches for batch in pair if batch is not None]
    hidden = {id(batch): model.embed(batch.ids_BN) for batch in flat}
    num_layers = model.architecture.num_hidden_layers
    with progress.bar("gates", total=num_layers, unit="layers") as bar:
        for layer in model.layers():
            means = {key: _mean(hidden_BNH, mode) for key, hidden_BNH in hidden.items()}
            yield [(means[id(positive)], means[id(negative)] if negative else None) for positive, negative in batches]
            if layer.index < num_layers - 1:
                for batch in flat:
                    hidden[id(batch)] = layer(hidden[id(batch)], batch.padding_BN).hidden_BLH
            bar.advance(1)


def _mean(hidden_BNH: torch.Tensor, mode: GateMode) -> torch.Tensor:
    vectors_BH = hidden_BNH[:, -1] if mode == "hidden" else hidden_BNH.sum(1) / hidden_BNH.shape[1]
    return vectors_BH.sum(0) / len(vectors_BH)


def _embedding_sum(model: LayerwiseModel, batch: _Batch) -> torch.Tensor:
    embedded_BNH = model.embed(batch.ids_BN) * ~batch.padding_BN[..., None]
    return _unit_length(embedded_BNH.sum(1).sum(0))


def _gate(positive_H: torch.Tensor, negative_H: torch.Tensor | None) -> torch.Tensor:
    return _unit_length(positive_H if negative_H is None else positive_H - negative_H)


def _unit_length(vector_H: torch.Tensor) -> torch.Tensor:
    return vector_H / vector_H.norm().clamp(min=_SHORTEST)
