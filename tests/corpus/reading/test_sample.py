from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moyai.corpus.reading.sample import sample_texts

TEXTS = st.lists(st.text("abあ", max_size=30), max_size=30)


@given(texts=TEXTS, budget=st.integers(1, 300), seed=st.integers(0, 9))
def test_a_sample_is_some_of_the_texts_in_their_order(texts: list[str], budget: int, seed: int) -> None:
    found = sample_texts(iter(texts), max_characters=budget, seed=seed)
    assert found.num_documents == len(texts)
    assert found.num_characters == sum(map(len, texts))
    assert found.num_sampled_characters <= budget
    rest = iter([text for text in texts if text])
    assert all(text in rest for text in found.texts)
    if found.num_characters <= budget:
        assert found.texts == tuple(text for text in texts if text)


def test_the_seed_decides_and_the_order_of_texts_does_not() -> None:
    texts = [f"{number} " * 10 for number in range(200)]
    first = sample_texts(texts, max_characters=1000, seed=0)
    assert 700 < first.num_sampled_characters <= 1000
    assert set(sample_texts(texts[::-1], max_characters=1000, seed=0).texts) == set(first.texts)
    assert sample_texts(texts, max_characters=1000, seed=1).texts != first.texts


def test_a_long_text_is_drawn_in_parts() -> None:
    book = "".join(chr(0x4E00 + number % 5000) for number in range(100_000))
    found = sample_texts([book, "short"], max_characters=50_000, seed=0)
    assert 35_000 < found.num_sampled_characters <= 50_000
    assert all(text in (book, "short") or text in book for text in found.texts)
    whole = sample_texts([book], max_characters=100_000, seed=0)
    assert "".join(whole.texts) == book
