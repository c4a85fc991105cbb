"""New rows of old ones: the sums are those that are asked for, and a table grows in pieces to the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from moyai.checkpoint import new_rows, reader
from moyai.checkpoint.dtypes import from_float32, to_float32
from moyai.checkpoint.header import TensorInfo, read_header
from moyai.checkpoint.new_rows import NewRows, first_rows, grown_table, mean_rows
from moyai.checkpoint.planned import PlannedTensor

REPLACED = [(3, 5), (0, 1, 2), (7, 7), (9,), (4, 3, 2, 1)]
NUM_BASE = 10


@pytest.fixture
def values() -> NDArray[np.float32]:
    return np.random.Generator(np.random.Philox(3)).standard_normal((12, 6), np.float32)


@pytest.fixture
def table(tmp_path: Path, values: NDArray[np.float32]) -> TensorInfo:
    save_file({"other": values[:1], "rows": values}, tmp_path / "model.safetensors")
    return read_header(tmp_path / "model.safetensors")["rows"]


def generated(planned: PlannedTensor) -> NDArray[np.float32]:
    assert not isinstance(planned.content, TensorInfo)
    return np.concatenate([to_float32(piece, planned.dtype) for piece in planned.content()])


def test_the_mean_and_the_first(table: TensorInfo, values: NDArray[np.float32]) -> None:
    everything = np.arange(len(REPLACED))
    means = np.stack([values[list(ids)].mean(0) for ids in REPLACED])
    firsts = np.stack([values[ids[0]] for ids in REPLACED])
    np.testing.assert_allclose(mean_rows(REPLACED).values(table, everything), means, atol=1e-6)
    np.testing.assert_array_equal(first_rows(REPLACED).values(table, everything), firsts)
    half = first_rows(REPLACED, share=0.5).values(table, everything)
    np.testing.assert_allclose(half, (means + firsts) / 2, atol=1e-6)


def test_rows_are_found_by_their_numbers_in_any_order(table: TensorInfo) -> None:
    rows = mean_rows(REPLACED)
    together = rows.values(table, np.arange(len(rows)))
    np.testing.assert_array_equal(rows.values(table, np.array([4, 0, 4])), together[[4, 0, 4]])


def test_moved_rows(table: TensorInfo) -> None:
    rows = mean_rows(REPLACED)
    steps, direction = np.linspace(-1, 2, len(rows), dtype=np.float32), np.arange(6, dtype=np.float32)
    moved = rows.moved(steps, direction)
    some = np.array([1, 4])
    expected = rows.values(table, some) + steps[some, None] * direction
    np.testing.assert_allclose(moved.values(table, some), expected, atol=1e-6)
    assert len({rows.sha256(), moved.sha256(), rows.moved(steps * 2, direction).sha256()}) == 3


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_a_grown_table(
    tmp_path: Path, values: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    stored = from_float32(values, dtype)
    kind = {"F32": "F32", "BF16": "U16", "F16": "F16"}[dtype]
    save_file({"rows": stored}, tmp_path / "model.safetensors")
    info = read_header(tmp_path / "model.safetensors")["rows"]
    assert info.dtype == kind
    info = TensorInfo(info.name, dtype, info.shape, info.path, info.start, info.num_bytes)
    whole = grown_table(info, mean_rows(REPLACED), num_base_rows=NUM_BASE, num_rows=24, made="mean")
    assert (whole.dtype, whole.shape, whole.sources) == (dtype, (24, 6), (info,))
    made = generated(whole)
    old = to_float32(stored, dtype)
    np.testing.assert_array_equal(made[:NUM_BASE], old[:NUM_BASE])
    means = np.stack([old[list(ids)].mean(0) for ids in REPLACED])
    np.testing.assert_allclose(made[NUM_BASE:15], means, atol={"F32": 1e-6, "BF16": 2e-2, "F16": 2e-3}[dtype])
    np.testing.assert_allclose(made[15:], np.repeat(old[:NUM_BASE].mean(0)[None], 9, 0), atol=2e-2)
    for module in (new_rows, reader):
        monkeypatch.setattr(module, "PIECE_ELEMENTS", 13)  # two rows at a time
    np.testing.assert_array_equal(generated(whole), made)


def test_more_rows_than_a_table_has_are_never_read(table: TensorInfo) -> None:
    with pytest.raises(AssertionError, match="rows has 12 rows, not 0 to 13"):
        generated(grown_table(table, mean_rows(REPLACED), num_base_rows=13, num_rows=24, made="mean"))


def test_the_origin_tells_all_that_decides_the_rows(table: TensorInfo) -> None:
    def origin(rows: NewRows, before: str = "") -> str:
        return grown_table(table, rows, num_base_rows=NUM_BASE, num_rows=16, made="mean", before=before).origin

    rows = mean_rows(REPLACED)
    assert origin(rows) == f"rows 0 to 10 of rows, 5 rows of pieces by mean, sha256 {rows.sha256()}"
    assert origin(rows, "copy of rows").startswith("rows 0 to 10 of (copy of rows), 5 rows of pieces by mean")
    assert origin(mean_rows([*REPLACED[:4], (4, 3, 2, 2)])) != origin(rows)
