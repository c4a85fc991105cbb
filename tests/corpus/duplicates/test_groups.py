"""Groups: what is connected has one first document, in whatever order the pairs come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.corpus.duplicates.groups import Groups

pairs_of_twenty = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40)


def first_documents(num_documents: int, pairs: list[tuple[int, int]]) -> list[int]:
    found = list(range(num_documents))
    for _ in range(num_documents):
        for one, other in pairs:
            found[one] = found[other] = min(found[one], found[other])
    return found


@given(pairs_of_twenty, st.integers(1, 5))
def test_groups_are_the_connected_documents(pairs: list[tuple[int, int]], parts: int) -> None:
    groups = Groups.alone(20)
    for part in range(parts):
        chosen = np.array(pairs[part::parts], np.uint32).reshape(-1, 2)
        groups.join(chosen[:, 0], chosen[:, 1])
    assert groups.all_first().tolist() == first_documents(20, pairs)


def test_a_long_chain_is_one_group() -> None:
    groups = Groups.alone(5000)
    later = np.arange(1, 5000, dtype=np.uint32)
    groups.join(later, later - np.uint32(1))
    assert not groups.all_first().any()


def test_no_documents() -> None:
    assert len(Groups.alone(0).all_first()) == 0


def test_a_way_is_gone_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, array_equal = [], np.array_equal
    monkeypatch.setattr(np, "array_equal", lambda *arrays: steps.append(1) or array_equal(*arrays))
    groups, last = Groups.alone(2000), np.array([1999], np.uint32)
    for document in range(1999, 0, -1):
        groups.join(np.array([document], np.uint32), np.array([document - 1], np.uint32))
    assert groups.first(last).tolist() == [0]
    steps.clear()
    assert groups.first(last).tolist() == [0]
    assert len(steps) == 1
    steps.clear()
    groups, later = Groups.alone(2000), np.arange(1, 2000, dtype=np.uint32)
    groups.join(later, later - np.uint32(1))
    assert not groups.all_first().any()
    assert len(steps) < 30
