"""Trials of new rows: the bits are those of a model that has the rows, which transformers runs whole."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from moyai.checkpoint.layout import EMBEDDING_NAME, HEAD_NAME
from moyai.checkpoint.new_rows import first_rows, grown_table, mean_rows
from moyai.layerwise.model import LayerwiseModel
from moyai.layerwise.row_trials import RowsPair, RowTrials
from moyai.progress import SilentProgress
from tiny import FAMILIES, tiny_model

NUM_BASE, NUM_ROWS = 310, 328
REPLACED = [(5, 9), (40, 41, 42), (7, 7, 8), (300, 2)]
# New ids, old ones, texts of different lengths, one that is a mark alone.
TEXTS = [[1, 310, 17, 311, 311, 40], [1, 5, 6, 312, 9, 313, 20, 21, 22, 310, 4], [1], [1, 313]] * 3


def grown(directory: Path, rows: RowsPair) -> nn.Module:
    """The model with the rows in its tables."""
    model = AutoModelForCausalLM.from_pretrained(directory)
    tables = {EMBEDDING_NAME: rows.embedding, HEAD_NAME: rows.head}
    reader = LayerwiseModel(directory).reader
    made = {}
    for name, new in tables.items():
        if name in reader.tensors:
            planned = grown_table(reader.tensors[name], new, num_base_rows=NUM_BASE, num_rows=NUM_ROWS, made="x")
            made[name] = torch.cat([torch.from_numpy(piece) for piece in planned.content()])  # type: ignore[operator]
    model.get_input_embeddings().weight = nn.Parameter(made[EMBEDDING_NAME])
    model.get_output_embeddings().weight = nn.Parameter(made.get(HEAD_NAME, made[EMBEDDING_NAME]))
    found: nn.Module = model.eval()
    return found


@torch.no_grad()
def expected_bits(model: nn.Module) -> float:
    nats = 0.0
    for text in TEXTS:
        ids = torch.tensor([text])
        log_probs = model(input_ids=ids).logits.double().log_softmax(-1)
        nats -= float(log_probs[0, :-1].gather(1, ids[0, 1:, None]).sum())
    return nats / math.log(2)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_bits(family: str, tied: bool, tmp_path: Path) -> None:
    tiny_model(family, tied=tied).save_pretrained(tmp_path)
    mean, first = mean_rows(REPLACED), first_rows(REPLACED)
    ways = [RowsPair(mean, mean), RowsPair(first, first)] + ([] if tied else [RowsPair(mean, first)])
    trials = RowTrials(LayerwiseModel(tmp_path), num_base_rows=NUM_BASE, num_rows=NUM_ROWS)
    with SilentProgress().bar("try", total=1, unit="tokens") as bar:
        found = trials.bits(ways, TEXTS, bar)
    assert found == pytest.approx([expected_bits(grown(tmp_path, way)) for way in ways], rel=1e-5)
    assert len(set(found)) == len(ways)
