"""Banding: the S-curve is what it is said to be, and every pair that meets and is alike is joined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moyai.corpus.duplicates import banding
from moyai.corpus.duplicates.banding import Bands, band_hash, choose_bands, join_alike
from moyai.corpus.duplicates.groups import Groups


@settings(deadline=None)
@given(st.floats(0.05, 0.99), st.integers(1, 512))
def test_bands_fit_and_find_what_is_at_the_threshold(near: float, permutations: int) -> None:
    cut = choose_bands(near, permutations)
    assert cut.bands * cut.rows <= permutations
    if cut.rows > 1:
        assert cut.meeting_probability(near) >= 0.95
    assert Bands(permutations // (cut.rows + 1), cut.rows + 1).meeting_probability(near) < 0.95 or permutations == cut.rows


@pytest.mark.parametrize("similarity", [0.6, 0.7, 0.8, 0.9])
def test_texts_meet_as_often_as_the_curve_says(similarity: float) -> None:
    cut, pairs = choose_bands(0.8, 128), 20_000
    generator = np.random.default_rng(1)
    one = generator.integers(0, 1 << 32, (pairs, 128), dtype=np.uint32)
    equal = generator.random((pairs, 128)) < similarity
    other = np.where(equal, one, one ^ np.uint32(1))  # one bit: a hash that passed over it would be found out
    met = np.zeros(pairs, np.bool_)
    for band in range(cut.bands):
        met |= band_hash(one, band, cut.rows) == band_hash(other, band, cut.rows)
    expected = cut.meeting_probability(similarity)
    assert abs(met.mean() - expected) < 5 * (expected * (1 - expected) / pairs) ** 0.5 + 1e-4


def test_upper_bits_depend_on_every_row() -> None:
    signatures = np.zeros((1000, 7), np.uint32)
    for row in range(7):
        signatures[:, row] = np.arange(1000)
        assert len(np.unique(band_hash(signatures, 0, 7) >> np.uint64(32))) == 1000
        signatures[:, row] = 0


Alike = Callable[[NDArray[np.uint32], NDArray[np.uint32]], NDArray[np.bool_]]


def alike_below(limit: int, values: NDArray[np.int64]) -> Alike:
    def alike(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> NDArray[np.bool_]:
        return np.asarray(np.abs(values[one] - values[other]) < limit)

    return alike


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.booleans()), max_size=60), st.integers(1, 20))
def test_what_stays_in_a_bucket_is_unlike_all_else_that_stays(rows: list[tuple[int, int, bool]], block: int) -> None:
    buckets = np.array([row[0] for row in rows], np.uint64) << np.uint64(60)
    values = np.array([row[1] for row in rows], np.int64)
    wanted = np.array([row[2] for row in rows], np.bool_)
    groups = Groups.alone(len(rows))
    before = banding._BLOCK_KEYS
    banding._BLOCK_KEYS = block
    try:
        join_alike(buckets.copy(), wanted, alike_below(2, values), groups)
    finally:
        banding._BLOCK_KEYS = before
    first = groups.all_first()
    for number, row in enumerate(rows):
        original = int(first[number])
        if not row[2]:
            assert original == number, "who does not take part stays alone"
        elif original != number:
            assert rows[original][0] == row[0], "only who shares a bucket is compared"
        for other in range(number):
            both_stay = row[2] and rows[other][2] and first[number] == number and first[other] == other
            if both_stay and rows[other][0] == row[0]:
                assert abs(rows[other][1] - row[1]) >= 2


def test_a_bucket_of_texts_that_are_all_unlike_ends() -> None:
    hashes, values = np.zeros(500, np.uint64), np.arange(500) * 10
    groups = Groups.alone(500)
    join_alike(hashes, np.ones(500, np.bool_), alike_below(2, values), groups)
    assert groups.all_first().tolist() == list(range(500))


def test_the_largest_hash_has_an_end_too() -> None:
    hashes = np.full(10, (1 << 64) - 1, np.uint64)
    groups = Groups.alone(10)
    join_alike(hashes, np.ones(10, np.bool_), alike_below(1, np.zeros(10, np.int64)), groups)
    assert not groups.all_first().any()
