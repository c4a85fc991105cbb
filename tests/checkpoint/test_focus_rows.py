"""FOCUS: a new piece is made of old pieces that stand where it stands."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from moyai.checkpoint import focus_rows as module
from moyai.checkpoint.focus_rows import focus_rows, sparsemax

CAT, DOG, RUN, EAT, STONE, LIE, UNSEEN = range(7)
NUM_BASE = 7
NEW_CAT, NEW_LIE, NEVER = 7, 8, 9
REPLACED = [(RUN, EAT), (CAT, DOG), (CAT, LIE)]


@pytest.fixture
def texts() -> list[NDArray[np.int64]]:
    """Animals run and eat, stones lie; a piece that is new stands where an animal stands, another where `lie` does."""
    rng = np.random.Generator(np.random.Philox(1))
    found = []
    for _ in range(400):
        animal, act = rng.choice([CAT, DOG, NEW_CAT]), rng.choice([RUN, EAT])
        found.append(np.array([animal, act], np.int64))
        found.append(np.array([STONE, rng.choice([LIE, NEW_LIE])], np.int64))
    return found


def weights(rows: module.NewRows, number: int) -> dict[int, float]:
    terms = slice(rows.starts[number], rows.starts[number + 1])
    return dict(zip(rows.ids[terms].tolist(), rows.weights[terms].tolist(), strict=True))


def test_like_surroundings(texts: list[NDArray[np.int64]]) -> None:
    rows = focus_rows(texts, REPLACED, num_base_rows=NUM_BASE)
    assert rows is not None
    cat, lie = weights(rows, 0), weights(rows, 1)
    assert cat.get(CAT, 0) + cat.get(DOG, 0) > 0.9
    assert lie.get(LIE, 0) > 0.9
    for found in (cat, lie):
        assert sum(found.values()) == pytest.approx(1, abs=1e-5)
        assert UNSEEN not in found
        assert max(found) < NUM_BASE


def test_a_piece_that_does_not_occur_is_the_mean(texts: list[NDArray[np.int64]]) -> None:
    rows = focus_rows(texts, REPLACED, num_base_rows=NUM_BASE)
    assert rows is not None
    assert weights(rows, 2) == {CAT: 0.5, LIE: 0.5}


def test_too_little_text(texts: list[NDArray[np.int64]]) -> None:
    assert focus_rows(texts[:2], REPLACED, num_base_rows=NUM_BASE) is None
    assert focus_rows([], REPLACED, num_base_rows=NUM_BASE) is None


def test_only_so_much_text_counts(texts: list[NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_TOKENS", 501)
    some = focus_rows(texts, REPLACED, num_base_rows=NUM_BASE)
    length = np.cumsum([len(text) for text in texts])
    whole = int(np.searchsorted(length, 501))
    cut = [*texts[:whole], texts[whole][: 501 - length[whole - 1]]]
    again = focus_rows(cut, REPLACED, num_base_rows=NUM_BASE)
    assert some is not None
    assert again is not None
    assert some.sha256() == again.sha256()


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    rng = np.random.Generator(np.random.Philox(2))
    scores = rng.standard_normal((50, 8)).astype(np.float32)
    found = sparsemax(scores)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found >= 0).all()
    others = rng.dirichlet(np.ones(8), 2000)
    for row, point in zip(scores, found, strict=True):
        assert ((row - point) ** 2).sum() <= ((row - others) ** 2).sum(1).min() + 1e-6
