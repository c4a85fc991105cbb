"""Which documents are worth learning from: rules of quality by kind of text and language, each with a named reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from moyai.corpus.extras import need
from moyai.corpus.quality import english_rules, general_rules, japanese_rules
from moyai.corpus.quality.language import language_of
from moyai.recipe.corpus_settings import CorpusSource, Language

Rule = Callable[[str], bool]
"""True for a text that is to be dropped."""

# In the order in which they are tried; the first that says so is the reason.
PRESETS: dict[tuple[Literal["web", "book"], Language], tuple[tuple[str, Rule], ...]] = {
    ("web", "ja"): (
        ("too short", partial(japanese_rules.too_short, characters=50)),
        ("garbled", general_rules.garbled),
        ("little Japanese", partial(japanese_rules.little_japanese, share=0.4)),
        ("few kana", japanese_rules.few_kana),
        ("mostly katakana", japanese_rules.mostly_katakana),
        ("no sentences", japanese_rules.no_sentences),
        ("short lines", partial(general_rules.short_lines, characters=10)),
        ("list", general_rules.bullet_list),
        ("cut lines", general_rules.cut_lines),
        ("repeated lines", partial(general_rules.repeated_lines, share=0.2)),
        ("repeated character", general_rules.repeated_character),
        ("repeated phrases", japanese_rules.repeated_phrases),
        ("advertising", japanese_rules.advertising),
        ("adult words", japanese_rules.adult_words),
    ),
    ("web", "en"): (
        ("too short", partial(english_rules.too_short, num_words=50)),
        ("garbled", general_rules.garbled),
        ("word length", english_rules.word_length),
        ("few letters", english_rules.few_letters),
        ("symbols", english_rules.many_symbols),
        ("no sentences", english_rules.no_sentences),
        ("short lines", partial(general_rules.short_lines, characters=30)),
        ("list", general_rules.bullet_list),
        ("cut lines", general_rules.cut_lines),
        ("placeholder", english_rules.placeholder),
        ("repeated lines", partial(general_rules.repeated_lines, share=0.2)),
        ("repeated character", general_rules.repeated_character),
        ("repeated phrases", english_rules.repeated_phrases),
        ("adult words", english_rules.adult_words),
    ),
    ("book", "ja"): (
        ("too short", partial(japanese_rules.too_short, characters=200)),
        ("garbled", general_rules.garbled),
        ("little Japanese", partial(japanese_rules.little_japanese, share=0.5)),
        ("few kana", japanese_rules.few_kana),
        ("repeated lines", partial(general_rules.repeated_lines, share=0.5)),
        ("repeated character", general_rules.repeated_character),
        ("repeated phrases", japanese_rules.repeated_phrases),
    ),
    ("book", "en"): (
        ("too short", partial(english_rules.too_short, num_words=50)),
        ("garbled", general_rules.garbled),
        ("word length", english_rules.word_length),
        ("few letters", english_rules.few_letters),
        ("repeated lines", partial(general_rules.repeated_lines, share=0.5)),
        ("repeated character", general_rules.repeated_character),
        ("repeated phrases", english_rules.repeated_phrases),
    ),
}


def quality(source: CorpusSource) -> Callable[[str], str | None]:
    """What says of each text of `source` why it is dropped, None where it is kept.

    The language is looked at first ("language"), then the rules of the source's filters in their order.

    Raises:
        UserError: a library that the rules need is not installed.
    """
    rules: tuple[tuple[str, Rule], ...] = ()
    if source.language is not None:
        need("py3langid", "Checks of the language")
        rules = (("language", partial(_other_language, language=source.language)),)
    if source.filters != "none" and source.language is not None:
        need("hojichar", "Filters")
        rules += PRESETS[source.filters, source.language]

    def reason(text: str) -> str | None:
        return next((name for name, drops in rules if drops(text)), None)

    return reason


def _other_language(text: str, *, language: Language) -> bool:
    return language_of(text) != language
