"""Characters by kind, each counted once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moyai.corpus.quality.character_counts import CharacterCounts, count_characters


def test_one_of_each_kind() -> None:
    for characters, kind in (
        ("ぁあゖゝ", "hiragana"),
        ("ァンヺーｱㇰ", "katakana"),
        ("一龥々〇𠮷﨑", "kanji"),
        ("、。「」！？（）・｡", "japanese_punctuation"),
        (" \n\t\u3000\xa0", "space"),
        ("\ufffd〓\x00\x7f\ue000\U0010ffff", "damaged"),
        ("aéя한0-.☃", "other"),
    ):
        counts = count_characters(characters)
        assert counts == CharacterCounts(*[0] * 7)._replace(**{kind: len(characters)}), characters


@given(st.text())
def test_every_character_is_one_of_them(text: str) -> None:
    counts = count_characters(text)
    assert sum(counts) == len(text)
    assert counts.hiragana == sum("ぁ" <= character <= "ゖ" or character in "ゝゞゟ" for character in text)
    assert counts.visible + counts.space == len(text)
