"""A checkpoint that is run one decoder layer at a time, so that memory is bounded by a layer and not by the model.

Weights are read in pieces, never mapped: mapped pages would count as memory.  What is in memory at a time:

    one layer               in float32; of a mixture, all its experts
    4 MB of the head        a slice of the vocabulary
    hidden states           tokens × hidden size × 4 bytes, kept between layers by the caller

The layers are transformers' own modules, and what surrounds them (positions, masks) is made by its own code as well:
the backbone runs once, with layers that only note what they are given.

Shape letters: B sequences, L tokens of each, H hidden size, V vocabulary, C a slice of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from moyai.checkpoint.dtypes import to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import EMBEDDING_NAME, FINAL_NORM_NAME, HEAD_NAME, check_complete
from moyai.checkpoint.reader import CheckpointReader, gather_rows, read_rows
from moyai.errors import InputFileError
from moyai.layerwise.layer import Layer
from moyai.layerwise.weights import read_layer, read_tensor
from moyai.recipe.architecture import read_architecture

_HEAD_VALUES = 1 << 20
"""Weights of the head alive at a time: 4 MB in float32."""


class LayerwiseModel:
    """A checkpoint directory whose layers are loaded one by one, on the processor.

    ```python
    model = LayerwiseModel(directory)
    hidden_BLH = model.embed(ids_BL)
    for layer in model.layers():
        hidden_BLH = layer(hidden_BLH).hidden_BLH
    normed_BLH = model.final_norm(hidden_BLH)
    for first_id, head_CH in model.head_slices():
        logits_BLC = normed_BLH @ head_CH.T
    ```

    Attributes:
        directory: where it is.
        architecture: its dimensions.
        reader: its tensors.
        dtype: of weights and hidden states.

    Raises:
        InputFileError: the directory holds no whole model of a family that moyai knows.
    """

    def __init__(self, directory: Path, *, dtype: torch.dtype = torch.float32) -> None:
        self.directory = directory
        self.dtype = dtype
        self.architecture = read_architecture(directory)
        self.reader = CheckpointReader(directory)
        check_complete(self.reader.shapes, self.architecture, str(directory))
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        with torch.device("meta"):
            backbone = AutoModel.from_config(config, dtype=dtype, attn_implementation="sdpa").eval().requires_grad_(False)
        self._templates: list[nn.Module] = list(backbone.layers)
        self._norm: nn.Module = backbone.norm
        weight_H = torch.empty(self.architecture.hidden_size, dtype=dtype)
        read_tensor(self.reader.tensors[FINAL_NORM_NAME], weight_H)
        self._norm.load_state_dict({"weight": weight_H}, assign=True)
        self._surroundings = _Surroundings(backbone)

    @property
    def attention_window(self) -> int | None:
        """How many tokens a token sees at most, where any layer has such a limit."""
        return self._surroundings.attention_window

    def embed(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """Embedding rows of token ids, [B, L, H]; only these rows are read.

        Raises:
            InputFileError: the embedding has no row for an id.
        """
        ids, places = np.unique(ids_BL.numpy(), return_inverse=True)
        if len(ids) and ids[-1] >= self.architecture.vocab_size:
            raise InputFileError(
                f"{self.directory} has {self.architecture.vocab_size} embedding rows, but a text has token id {ids[-1]}",
                hint="does the tokenizer belong to the model?",
            )
        info = self.reader.tensors[EMBEDDING_NAME]
        rows = torch.from_numpy(to_float32(gather_rows(info, ids), info.dtype)).to(self.dtype)
        return rows[torch.from_numpy(places.reshape(ids_BL.shape))]

    def layers(self) -> Iterator[Layer]:
        """Every layer in order; each is dropped when the next one is asked for."""
        for index, template in enumerate(self._templates):
            module = copy.deepcopy(template)
            shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
            weights = read_layer(self.reader, self.architecture, index, shapes, self.dtype)
            module.load_state_dict(weights, assign=True)
            layer = Layer(index, module, self._surroundings.of_layer)
            del module, weights  # or they would live on beside the next layer's
            yield layer
            layer.release()

    def final_norm(self, hidden_BLH: torch.Tensor) -> torch.Tensor:
        """What the head sees of the last layer's hidden states; any leading shape."""
        with torch.no_grad():
            normed_BLH: torch.Tensor = self._norm(hidden_BLH)
        return normed_BLH

    def head_slices(self) -> Iterator[tuple[int, torch.Tensor]]:
        """The output head in order as (first token id, rows [C, H])."""
        step = max(1, _HEAD_VALUES // self.architecture.hidden_size)
        for start in range(0, self.architecture.vocab_size, step):
            rows = read_rows(self.head, start, min(start + step, self.architecture.vocab_size))
            yield start, torch.from_numpy(to_float32(rows, self.head.dtype)).to(self.dtype)

    @property
    def head(self) -> TensorInfo:
        """Where the head's weights lie: the embedding's, where the two are tied."""
        return self.reader.tensors[EMBEDDING_NAME if self.architecture.tie_word_embeddings else HEAD_NAME]


class _Surroundings:
    """What transformers gives a layer besides hidden states, learnt by running a backbone without weights."""

    def __init__(self, backbone: Any) -> None:
        # buffers of the rotary embedding were made on the meta device as well
        backbone.rotary_emb = type(backbone.rotary_emb)(config=backbone.config)
        backbone.layers = nn.ModuleList(_Noting() for _ in backbone.layers)
        backbone.norm = nn.Identity()
        self._backbone = backbone
        self._known: dict[tuple[int, bytes], list[Mapping[str, Any]]] = {}

    @property
    def attention_window(self) -> int | None:
        window: int | None = getattr(self._backbone.config, "sliding_window", None)
        kinds = getattr(self._backbone.config, "layer_types", None)
        return None if kinds and "sliding_attention" not in kinds else window

    def of_layer(self, index: int, hidden_BLH: torch.Tensor, padding_BL: torch.Tensor | None) -> Mapping[str, Any]:
        # all windows of one length share what surrounds them
        key = (hidden_BLH.shape[1], b"" if padding_BL is None else padding_BL.numpy().tobytes())
        if key not in self._known:
            self._known[key] = self._note(hidden_BLH if padding_BL is not None else hidden_BLH[:1], padding_BL)
        return self._known[key][index]

    def _note(self, hidden_BLH: torch.Tensor, padding_BL: torch.Tensor | None) -> list[Mapping[str, Any]]:
        seen_BL = None if padding_BL is None else (~padding_BL).long()
        with torch.no_grad():
            self._backbone(inputs_embeds=hidden_BLH, attention_mask=seen_BL, use_cache=False)
        return [layer.given for layer in self._backbone.layers]


class _Noting(nn.Module):
    given: Mapping[str, Any]

    def forward(self, hidden_BLH: torch.Tensor, **given: Any) -> torch.Tensor:
        self.given = given
        return hidden_BLH
