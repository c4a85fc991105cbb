"""Mixing sources: shares hold all the way, every document comes once an epoch, and nothing depends on luck."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.mixture import Mixture

SOURCES = {
    name: [[number] * (3 + number % 5) for number in range(start, start + 20)] for name, start in (("a", 0), ("b", 100))
}


def stream(count: int, shares: dict[str, float], *, seed: int = 0) -> list[tuple[str, list[int]]]:
    return [(name, list(ids)) for name, ids in islice(Mixture(SOURCES, shares, seed).documents(), count)]


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.05, 0.95), seed=st.integers(0, 5), count=st.integers(1, 300))
def test_every_source_has_its_share_of_the_tokens_at_any_moment(share: float, seed: int, count: int) -> None:
    given_tokens = {"a": 0, "b": 0}
    for name, ids in stream(count, {"a": share, "b": 1 - share}, seed=seed):
        given_tokens[name] += len(ids)
    longest = 7
    assert abs(given_tokens["a"] - share * sum(given_tokens.values())) <= longest


def test_shares_are_normalised() -> None:
    assert stream(100, {"a": 6, "b": 2}) == stream(100, {"a": 0.75, "b": 0.25})


def test_same_seed_same_stream_and_another_seed_another() -> None:
    shares = {"a": 0.5, "b": 0.5}
    assert stream(100, shares, seed=3) == stream(100, shares, seed=3)
    assert stream(100, shares, seed=3) != stream(100, shares, seed=4)


def test_each_epoch_holds_every_document_once_in_another_order() -> None:
    numbers = [ids[0] for name, ids in stream(60, {"a": 1.0, "b": 1e-9}) if name == "a"]
    epochs = [numbers[start : start + 20] for start in (0, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_epochs_are_counted_in_tokens() -> None:
    mixture = Mixture(SOURCES, {"a": 1.0, "b": 1.0}, 0)
    per_epoch = sum(len(ids) for ids in SOURCES["a"])
    assert mixture.use["a"].tokens_per_epoch == per_epoch
    mixture.take("a", per_epoch, starts_document=True)
    mixture.take("a", per_epoch // 2, starts_document=False)
    assert mixture.use["a"].epochs == pytest.approx(1.5)
    assert (mixture.use["a"].documents, mixture.use["a"].num_documents) == (1, 20)
    assert mixture.use["b"].epochs == 0
