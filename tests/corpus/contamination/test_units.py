"""Units: words and characters are found where they stand, and hashes depend on nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.contamination import units as units_module
from moyai.corpus.contamination.units import characters_of, window_hashes, words_of
from moyai.corpus.folding import fold

# letters of two kinds and separators, all of which fold to themselves
some_text = st.text(st.sampled_from("ab7漢かー -。\n"), max_size=60)
numbers = st.lists(st.integers(0, (1 << 64) - 1), max_size=40)


def word_spans(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer(r"[ab7]+|[漢かー]+", text)]


@settings(deadline=None)
@given(some_text, st.sampled_from([1, 3, 1 << 16]))
def test_words(text: str, block: int) -> None:
    before = units_module._BLOCK
    units_module._BLOCK = block if not re.search(r"[ab7]{2}", text) or block > 3 else 1 << 16
    try:
        units = words_of(fold(text))
    finally:
        units_module._BLOCK = before
    spans = list(zip(units.starts.tolist(), units.stops.tolist(), strict=True))
    latin = [span for span in spans if text[span[0]] in "ab7"]
    assert latin == [span for span in word_spans(text) if text[span[0]] in "ab7"]
    assert "".join(text[start:stop] for start, stop in spans) == re.sub(r"[^ab7漢かー]", "", text)


@settings(deadline=None)
@given(some_text, some_text)
def test_equal_words_have_equal_hashes_and_others_have_not(one: str, other: str) -> None:
    seen: dict[str, int] = {}
    for text in (one, other, one + other):
        units = words_of(fold(text))
        for hash_, start, stop in zip(*(part.tolist() for part in units), strict=True):
            assert seen.setdefault(text[start:stop], hash_) == hash_
    assert len(set(seen.values())) == len(seen)


@settings(deadline=None)
@given(some_text)
def test_characters(text: str) -> None:
    units = characters_of(fold(text))
    assert [text[start] for start in units.starts] == re.findall(r"[ab7漢かー]", text)
    assert (units.stops == units.starts + 1).all()


@settings(deadline=None)
@given(numbers, st.integers(1, 6), st.sampled_from([2, 7, 1 << 16]))
def test_windows(values: list[int], length: int, block: int) -> None:
    before = units_module._BLOCK
    units_module._BLOCK = block
    try:
        found = window_hashes(np.array(values, np.uint64), length).tolist()
    finally:
        units_module._BLOCK = before
    windows = [tuple(values[start : start + length]) for start in range(len(values) - length + 1)]
    assert len(found) == len(windows)
    assert len(set(found)) == len(set(windows)) == len(set(zip(windows, found, strict=True)))


@pytest.mark.parametrize("swapped", ["ba", "b a", "a  b ", "ab"])
def test_order_and_borders_count(swapped: str) -> None:
    def hash_of(text: str) -> bytes:
        return window_hashes(words_of(fold(text)).hashes, 1).tobytes()

    assert (hash_of("a b") == hash_of(swapped)) == (swapped.split() == ["a", "b"])


def test_a_text_longer_than_a_block_is_cut_between_words() -> None:
    text = "tide turns 舟 " * 20_000
    units = words_of(fold(text))
    assert len(units.hashes) == 60_000
    assert len(np.unique(units.hashes)) == 3
    assert text[units.starts[-1] : units.stops[-1]] == "舟"
