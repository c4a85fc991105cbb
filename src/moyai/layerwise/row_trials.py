"""How well a model predicts text with new rows in its embedding and head, before any file has them.

The base's checkpoint is run layer by layer, once for all ways of making rows: each layer is loaded once and given the
hidden states of every way.  Of the tables only the rows that the text needs are in memory, and slices of the head.

Shape letters: B texts, L tokens of the longest, T = all tokens of the texts, H hidden size, C a slice of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from moyai.checkpoint.calibrated_rows import log_normalisers
from moyai.checkpoint.copying import rows_of
from moyai.checkpoint.dtypes import to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import EMBEDDING_NAME
from moyai.checkpoint.new_rows import NewRows, mean_of_rows, row_ranges
from moyai.checkpoint.reader import gather_rows, row_length
from moyai.layerwise.model import LayerwiseModel
from moyai.progress import Bar

# Texts of one batch are padded to the longest of them.
_BATCH_TEXTS = 8


@dataclass(frozen=True)
class RowsPair:
    """The new rows of both tables; of a tied model they are the same object."""

    embedding: NewRows
    head: NewRows


class RowTrials:
    """A base model, tried with new rows.

    Args:
        model: the base.
        num_base_rows: rows of its tables that are in use; new ones are numbered from there.
        num_rows: of the tables to come, padding counted.
    """

    def __init__(self, model: LayerwiseModel, *, num_base_rows: int, num_rows: int) -> None:
        self._model = model
        self._num_base_rows = num_base_rows
        self._num_rows = num_rows
        self._base_head = rows_of(model.head, 0, num_base_rows)

    @property
    def head(self) -> TensorInfo:
        """The table that the head's rows are made of."""
        return self._model.head

    def hidden_states(
        self, embeddings: Sequence[NewRows], texts: Sequence[Sequence[int]], bar: Bar
    ) -> list[NDArray[np.float32]]:
        """What the head sees with each way of making the embedding's rows, [T, H] each, text after text.

        Args:
            embeddings: the ways.
            texts: token ids, each with what stands in front of it.
            bar: advanced by one for each token and way.
        """
        batches = [texts[start : start + _BATCH_TEXTS] for start in range(0, len(texts), _BATCH_TEXTS)]
        hidden = [[self._embed(rows, batch) for batch in batches] for rows in embeddings]
        for layer in self._model.layers():
            for states in hidden:
                for number, batch in enumerate(batches):
                    # A text sees what is before it only, so padding behind it needs no mask.
                    states[number] = layer(states[number]).hidden_BLH
                    bar.advance(sum(map(len, batch)) / self._model.architecture.num_hidden_layers)
        return [
            torch.cat([
                self._model.final_norm(one_LH[: len(text)])
                for states_BLH, batch in zip(states, batches, strict=True)
                for one_LH, text in zip(states_BLH, batch, strict=True)
            ]).numpy()
            for states in hidden
        ]  # fmt: skip

    def bits(self, ways: Sequence[RowsPair], texts: Sequence[Sequence[int]], bar: Bar) -> list[float]:
        """Bits of all tokens but the first of each text, with each way of making rows."""
        embeddings = list({id(way.embedding): way.embedding for way in ways}.values())
        states = self.hidden_states(embeddings, texts, bar)
        known_T = np.concatenate([np.arange(1, len(text) + 1) < len(text) for text in texts])
        targets_T = np.concatenate([np.array(text[1:], np.int64) for text in texts])
        found = {}
        for embedding, hidden_TH in zip(embeddings, states, strict=True):
            seen_TH = hidden_TH[known_T]
            log_z_T = log_normalisers(self._base_head, seen_TH)
            for number, way in enumerate(ways):
                if way.embedding is embedding:
                    nats_T = self._log_z(seen_TH, log_z_T, way.head) - self._logits(seen_TH, targets_T, way.head)
                    found[number] = float(nats_T.sum(dtype=np.float64)) / math.log(2)
        return [found[number] for number in range(len(ways))]

    def _embed(self, rows: NewRows, batch: Sequence[Sequence[int]]) -> torch.Tensor:
        ids_BL = np.zeros((len(batch), max(map(len, batch))), np.int64)
        for number, text in enumerate(batch):
            ids_BL[number, : len(text)] = text
        is_new_BL = ids_BL >= self._num_base_rows
        hidden_BLH = self._model.embed(torch.from_numpy(np.where(is_new_BL, 0, ids_BL)))
        numbers, places = np.unique(ids_BL[is_new_BL] - self._num_base_rows, return_inverse=True)
        if len(numbers):
            values = rows.values(self._model.reader.tensors[EMBEDDING_NAME], numbers)
            hidden_BLH[torch.from_numpy(is_new_BL)] = torch.from_numpy(values)[torch.from_numpy(places)]
        return hidden_BLH

    def _log_z(
        self, hidden_TH: NDArray[np.float32], log_z_T: NDArray[np.float32], head: NewRows
    ) -> NDArray[np.float32]:
        """Of the softmax over the base's rows, the new ones and the padding, whose rows are the mean of the base's."""
        num_padding = self._num_rows - self._num_base_rows - len(head)
        if num_padding:
            log_z_T = np.logaddexp(log_z_T, hidden_TH @ mean_of_rows(self._base_head) + math.log(num_padding))
        for numbers in self._slices(head, hidden_TH):
            logits_TC = hidden_TH @ head.values(self._model.head, numbers).T
            largest_T = logits_TC.max(1)
            log_z_T = np.logaddexp(log_z_T, np.log(np.exp(logits_TC - largest_T[:, None]).sum(1)) + largest_T)
        return log_z_T

    def _logits(
        self, hidden_TH: NDArray[np.float32], targets_T: NDArray[np.int64], head: NewRows
    ) -> NDArray[np.float32]:
        """Of each position's target."""
        logits_T = np.empty(len(targets_T), np.float32)
        table = self._model.head
        (old_T,) = np.nonzero(targets_T < self._num_base_rows)
        for places in row_ranges(len(old_T), row_length(table)):
            here = old_T[places]
            rows_TH = to_float32(gather_rows(table, targets_T[here]), table.dtype)
            logits_T[here] = (hidden_TH[here] * rows_TH).sum(1)
        (new_T,) = np.nonzero(targets_T >= self._num_base_rows)
        for places in row_ranges(len(new_T), row_length(table)):
            here = new_T[places]
            rows_TH = head.values(table, targets_T[here] - self._num_base_rows)
            logits_T[here] = (hidden_TH[here] * rows_TH).sum(1)
        return logits_T

    def _slices(self, head: NewRows, hidden_TH: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
        return row_ranges(len(head), max(row_length(self._model.head), len(hidden_TH)))
