"""Shared runs: exactly those that comparing everything with everything finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.contamination.run_index import IndexedTexts, RunIndex, SharedRun

few = st.integers(5, 7)  # few different units, so that runs come about and repeat


@st.composite
def indexed(draw: st.DrawFn) -> tuple[list[list[int]], list[list[bool]], int, int]:
    run = draw(st.integers(2, 7))
    seed = draw(st.integers(1, run))
    texts = draw(st.lists(st.lists(few, min_size=seed, max_size=25), min_size=1, max_size=4))
    own = [[draw(st.booleans()) for _ in text] for text in texts]
    for text, flags in zip(texts, own, strict=True):
        for place in range(len(text) - min(run, len(text)) + 1, len(text)):
            flags[place] = False
    return texts, own, run, seed


def hit_texts(texts: list[list[int]], own: list[list[bool]], run: int, document: list[int]) -> set[int]:
    """The texts of which a run that counts stands in the document."""
    return {
        number
        for number, (text, flags) in enumerate(zip(texts, own, strict=True))
        for place in range(len(text))
        if flags[place] and stands_in(text[place : place + min(run, len(text))], document)
    }


def stands_in(run: list[int], document: list[int]) -> bool:
    return any(document[start : start + len(run)] == run for start in range(len(document) - len(run) + 1))


def index_of(texts: list[list[int]], own: list[list[bool]], run: int, seed: int) -> RunIndex:
    hashes = np.array([unit for text in texts for unit in text], np.uint64)
    flags = np.array([flag for text in own for flag in text], np.bool_)
    return RunIndex.of(IndexedTexts(hashes, np.array([len(text) for text in texts]), flags), run=run, seed=seed)


@settings(deadline=None, max_examples=300)
@given(indexed(), st.lists(few, max_size=40), st.data())
def test_against_comparing_everything(
    given_: tuple[list[list[int]], list[list[bool]], int, int], around: list[int], data: st.DataObject
) -> None:
    texts, own, run, seed = given_
    planted = texts[data.draw(st.integers(0, len(texts) - 1))]
    start = data.draw(st.integers(0, len(planted)))
    place = data.draw(st.integers(0, len(around)))
    document = around[:place] + planted[start : start + data.draw(st.integers(0, run + 2))] + around[place:]
    runs = index_of(texts, own, run, seed).shared_runs(np.array(document, np.uint64))
    assert {found.indexed_text for found in runs} == hit_texts(texts, own, run, document)
    for found in runs:
        assert found.stop - found.start >= min(run, len(texts[found.indexed_text]))
        assert stands_in(document[found.start : found.stop], texts[found.indexed_text])


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 40), st.integers(4, 10), st.integers(0, 60))
def test_a_run_is_given_whole(before: int, length: int, run: int, own: int) -> None:
    """Of units that are all different, so that there is one place where it can lie; one run of it counts."""
    text = list(range(100, 200))
    document = [7, 8, 9, *text[before : before + length], 9, 8, 7]
    index = index_of([text], [[place == own for place in range(100)]], run, (run + 1) // 2)
    runs = index.shared_runs(np.array(document, np.uint64))
    assert runs == ([SharedRun(0, 3, 3 + length)] if before <= own <= before + length - run else [])


def test_a_document_that_repeats_a_text_over_and_over() -> None:
    text = [5] * 30
    index = index_of([text], [[place <= 10 for place in range(30)]], 20, 10)
    runs = index.shared_runs(np.full(5000, 5, np.uint64))
    assert {found.indexed_text for found in runs} == {0}
