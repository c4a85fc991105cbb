"""Mixing sources: targets hold all the way, every document comes once an epoch, and a stream goes on where it was left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.mixing.mixture import Mixture
from moyai.errors import UserError

SOURCES = {
    name: [[number] * (3 + number % 5) for number in range(start, start + 20)] for name, start in (("a", 0), ("b", 100))
}


def stream(count: int, targets: Mapping[str, float], *, seed: int = 0) -> list[tuple[str, list[int]]]:
    mixture = Mixture(SOURCES, targets, seed)
    return [(piece.source, list(piece.ids)) for piece in islice(iter(lambda: mixture.piece(100), None), count)]


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.05, 0.95), seed=st.integers(0, 5), count=st.integers(1, 300))
def test_every_source_has_its_share_of_the_tokens_at_any_moment(share: float, seed: int, count: int) -> None:
    given_tokens = {"a": 0, "b": 0}
    for name, ids in stream(count, {"a": share, "b": 1 - share}, seed=seed):
        given_tokens[name] += len(ids)
    longest = 7
    assert abs(given_tokens["a"] - share * sum(given_tokens.values())) <= longest


def test_targets_are_shares_whatever_they_add_up_to() -> None:
    assert stream(100, {"a": 6, "b": 2}) == stream(100, {"a": 0.75, "b": 0.25})


def test_a_source_with_the_target_0_never_comes() -> None:
    assert {name for name, _ in stream(100, {"a": 1, "b": 0})} == {"a"}


def test_same_seed_same_stream_and_another_seed_another() -> None:
    shares = {"a": 0.5, "b": 0.5}
    assert stream(100, shares, seed=3) == stream(100, shares, seed=3)
    assert stream(100, shares, seed=3) != stream(100, shares, seed=4)


def test_the_order_in_which_sources_are_written_means_nothing() -> None:
    backwards = Mixture(dict(reversed(SOURCES.items())), {"b": 0.3, "a": 0.3}, 0)
    assert read(backwards, [100] * 50) == read(Mixture(SOURCES, {"a": 0.3, "b": 0.3}, 0), [100] * 50)


def test_each_epoch_holds_every_document_once_in_another_order() -> None:
    numbers = [ids[0] for name, ids in stream(60, {"a": 1.0, "b": 1e-9}) if name == "a"]
    epochs = [numbers[start : start + 20] for start in (0, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_epochs_are_counted_in_tokens() -> None:
    mixture = Mixture(SOURCES, {"a": 1.0, "b": 0.0}, 0)
    per_epoch = sum(len(ids) for ids in SOURCES["a"])
    assert mixture.use["a"].tokens_per_epoch == per_epoch
    for _ in range(30):
        mixture.piece(100)
    assert mixture.use["a"].epochs == mixture.use["a"].tokens / per_epoch > 1
    assert (mixture.use["a"].documents, mixture.use["a"].num_documents) == (30, 20)
    assert mixture.use["b"].epochs == 0


def read(mixture: Mixture, sizes: list[int]) -> list[tuple[Any, ...]]:
    pieces = [mixture.piece(size) for size in sizes]
    return [(p.source, p.document, p.start, list(p.ids), p.following) for p in pieces]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=3),
    targets=st.lists(st.integers(1, 50), min_size=3, max_size=3),
    before=st.lists(st.integers(1, 12), max_size=30),
    after=st.lists(st.integers(1, 12), min_size=1, max_size=30),
    seed=st.integers(0, 3),
)
def test_a_stream_that_was_left_at_any_token_goes_on_as_if_it_had_not(
    lengths: list[list[int]], targets: list[int], before: list[int], after: list[int], seed: int
) -> None:
    sources = {
        str(name): [np.arange(length + 1, dtype=np.uint16) for length in of_source] for name, of_source in enumerate(lengths)
    }
    of_source = dict(zip(sources, targets, strict=False))
    whole = Mixture(sources, of_source, seed)
    expected = read(whole, before + after)
    left = Mixture(sources, of_source, seed)
    read(left, before)
    resumed = Mixture.resumed(sources, json.loads(json.dumps(left.state())))
    assert read(resumed, after) == expected[len(before) :]
    assert resumed.state() == whole.state()


def test_pieces_of_a_document_join_to_it_and_know_what_follows() -> None:
    mixture = Mixture({"a": [[7, 1, 2, 3, 8]]}, {"a": 1}, 0)
    assert read(mixture, [3, 9]) == [("a", 0, 0, [7, 1, 2], 3), ("a", 0, 3, [3, 8], None)]
    mixture.piece(4)
    assert mixture.piece(4).start == 0, "a last token alone, which predicts nothing, is passed over"


def test_other_sources_than_those_of_the_state_are_refused() -> None:
    state = Mixture(SOURCES, {"a": 1, "b": 1}, 0).state()
    with pytest.raises(UserError, match=r"a has 19 documents of \d+ tokens, and had 20"):
        Mixture.resumed(SOURCES | {"a": SOURCES["a"][1:]}, state)


@pytest.mark.parametrize("documents", [[], [[1]], [[1], [2]]])
def test_a_source_without_text_is_refused(documents: list[list[int]]) -> None:
    with pytest.raises(UserError, match="empty has no training document"):
        Mixture(SOURCES | {"empty": documents}, {"a": 1, "b": 1, "empty": 1}, 0)


def test_many_sources_of_very_different_size_have_their_tokens_within_a_document() -> None:
    targets = {"tiny": 3, "small": 30, "middle": 4_000, "large": 76_000, "other": 20_000}
    sources = {name: [[number, 0, 0, 0, 0] for number in range(7)] for name in targets}
    mixture, total = Mixture(sources, targets, 0), sum(targets.values())
    while sum(use.tokens for use in mixture.use.values()) < total:
        mixture.piece(100)
    for name, use in mixture.use.items():
        assert abs(use.tokens - targets[name]) <= 5, name
