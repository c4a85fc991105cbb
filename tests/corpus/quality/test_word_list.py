"""Words in text without spaces: the same hits as going through the list, longest first."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from moyai.corpus.quality.word_list import words_pattern

WORDS = st.lists(st.text(alphabet="あい海舟ab.+", min_size=1, max_size=4), min_size=1, max_size=12)


@given(WORDS, st.text(alphabet="あい海舟ab.+\n", max_size=40))
def test_the_longest_word_at_each_place(words: list[str], text: str) -> None:
    listed = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    assert words_pattern(words).findall(text) == re.findall(listed, text)


def test_katakana_counts_where_no_other_katakana_touches_it() -> None:
    pattern = words_pattern(["アス", "アスカ", "サック"])
    assert pattern.findall("リュックサックとアスファルト") == []
    assert pattern.findall("アスとアスカ、サック。") == ["アス", "アスカ", "サック"]
