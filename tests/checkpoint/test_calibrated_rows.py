"""Calibrated rows: as probable as their pieces are frequent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from moyai.checkpoint.calibrated_rows import calibrated_rows, common_direction, log_normalisers
from moyai.checkpoint.header import TensorInfo, read_header
from moyai.checkpoint.new_rows import mean_rows
from moyai.checkpoint.reader import read_rows

NUM_BASE, HIDDEN, POSITIONS = 40, 12, 300
REPLACED = [(1, 2), (3, 4, 5), (1, 7)]


@pytest.fixture
def hidden() -> NDArray[np.float32]:
    """States that have a part in common, as those behind a last norm have."""
    rng = np.random.Generator(np.random.Philox(5))
    return (rng.standard_normal((POSITIONS, HIDDEN)) * 0.5 + np.linspace(1, 3, HIDDEN)).astype(np.float32)


@pytest.fixture
def head(tmp_path: Path) -> TensorInfo:
    rng = np.random.Generator(np.random.Philox(6))
    save_file({"head": rng.standard_normal((NUM_BASE + 4, HIDDEN)).astype(np.float32) * 0.4}, tmp_path / "head.safetensors")
    return read_header(tmp_path / "head.safetensors")["head"]


def test_the_direction_is_a_bias(hidden: NDArray[np.float32]) -> None:
    products = hidden @ common_direction(hidden)
    assert products.mean() == pytest.approx(1, abs=0.02)
    assert products.std() < 0.1


def test_normalisers(head: TensorInfo, hidden: NDArray[np.float32]) -> None:
    values = read_rows(head, 0, NUM_BASE + 4)
    expected = np.log(np.exp((hidden @ values.T).astype(np.float64)).sum(1))
    np.testing.assert_allclose(log_normalisers(head, hidden), expected, rtol=1e-5)


def test_pieces_are_as_probable_as_they_are_frequent(head: TensorInfo, hidden: NDArray[np.float32]) -> None:
    counts = np.array([100] * NUM_BASE + [900, 50, 0])
    rows = calibrated_rows(mean_rows(REPLACED), head, hidden, counts, num_base_rows=NUM_BASE)
    base = TensorInfo(head.name, head.dtype, (NUM_BASE, HIDDEN), head.path, head.start, NUM_BASE * HIDDEN * 4)
    new = np.exp(hidden @ rows.values(head, np.arange(3)).T - log_normalisers(base, hidden)[:, None])
    # Beside the base's sum of 1, which is the share of its own pieces.
    found = new.mean(0)
    np.testing.assert_allclose(found, np.array([900.5, 50.5, 0.5]) / 4000.5, rtol=0.15)
    apart = np.exp(hidden @ mean_rows(REPLACED).values(head, np.arange(3)).T - log_normalisers(base, hidden)[:, None])
    assert np.abs(np.log(apart.mean(0)[2] / (0.5 / 4000.5))) > 1, "the plain mean is far from it"
