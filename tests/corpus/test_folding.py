"""Folding: the fast table says what NFKC says, and what is no letter is a separator."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moyai.corpus.folding import JAPANESE, fold, folded_text


def letters(text: str) -> list[str]:
    """The letters of a folded text; one separator stands for several."""
    spelled = "".join(chr(code & 0x1FFFFF) for code in fold(text))
    return spelled.split("\0")


def slowly(text: str) -> list[str]:
    found = ""
    for character in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(character)
        counts = category[0] in "LN" or (category in ("Mn", "Mc") and not 0xFE00 <= ord(character) <= 0xFE0F)
        lower = character.lower()
        found += (lower if len(lower) == 1 else character) if counts else "\0"
    return found.split("\0")


def without_empty(parts: list[str]) -> list[str]:
    return [part for part in parts if part]


mixed = st.text(st.one_of(st.characters(), st.sampled_from("ｶﾞﾊﾟＡが\u3099\u0301각\u1100\u1161\u11a8½㈱…゛İΣǅ️")))


@settings(deadline=None)
@given(mixed)
@example("ｶﾞｷﾞ")
@example("e\u0301")
@example("a\u0315\u0300")  # marks that NFKC puts into another order
@example("\u1100\u1161\u11a8")
@example("\U0001109b\U000110ba")
@example("👍️1️⃣")
def test_the_table_agrees_with_normalising_every_character(text: str) -> None:
    assert without_empty(letters(text)) == without_empty(slowly(text))


@settings(deadline=None)
@given(mixed)
def test_there_is_a_code_for_each_character_of_the_folded_text(text: str) -> None:
    spelled = folded_text(text)
    assert len(spelled) == len(fold(text))
    assert (fold(spelled) == fold(text)).all(), "what is folded once more stays"


@pytest.mark.parametrize(
    ("one", "other"),
    [("ＡＢＣ　１２３", "abc 123"), ("ｶﾞｷﾞｸﾞ", "ガギグ"), ("Tide", "tide"), ("か\u3099", "が"), ("㈱", "(株)"), ("℃", "°C")],
)
def test_spellings_that_are_one(one: str, other: str) -> None:
    assert without_empty(letters(one)) == without_empty(letters(other))


def test_hiragana_katakana_and_voicing_stay_apart() -> None:
    assert len({fold(character).tobytes() for character in "かがカガ蚊"}) == 5


def test_japanese_characters_are_marked() -> None:
    text = "かカー々漢𠮷〇ｱ" + "aé1한ﬁ"
    assert [bool(code & JAPANESE) for code in fold(text)][:8] == [True] * 8
    assert not (fold(text)[8:] & JAPANESE).any()


def test_half_a_surrogate_pair_is_a_separator() -> None:
    assert fold("a\ud83db").tolist() == [ord("a"), 0, ord("b")]
