"""Rules for Japanese text; each is true for a text that is to be dropped."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from moyai.corpus.extras import need
from moyai.corpus.quality.character_counts import count_characters
from moyai.corpus.quality.language import sample_text
from moyai.corpus.quality.word_list import words_pattern

_ADULT_SAMPLE_CHARACTERS, _ADULT_WORDS = 300, 3


def too_short(text: str, *, characters: int) -> bool:
    """It has fewer characters than that, white space aside."""
    return count_characters(text).visible < characters


def little_japanese(text: str, *, share: float) -> bool:
    """Less than this share of its characters is kana, kanji or Japanese punctuation, white space aside.

    Source: Swallow Corpus (arXiv 2404.17733) asks for half of all characters; that drops a fifth of software manuals,
    which are full of identifiers, so the web's share is lower here.
    """
    counts = count_characters(text)
    return counts.japanese < share * counts.visible


def few_kana(text: str) -> bool:
    """Less than 5 % of its Japanese characters is kana, as in lists of names and in Chinese.

    Source: the share that nwc-toolkit asks of hiragana in a sentence.  Swallow Corpus's 20 % of hiragana drops entries
    of an encyclopaedia that list offices and works, and old law written in katakana.
    """
    counts = count_characters(text)
    return counts.hiragana + counts.katakana < 0.05 * counts.japanese


def mostly_katakana(text: str) -> bool:
    """More than 80 % of its Japanese characters are katakana, as in lists of goods.

    Source: Swallow Corpus, where it is half; manuals of software go beyond that, and entries on foreign football.
    """
    counts = count_characters(text)
    return counts.katakana > 0.8 * counts.japanese


def no_sentences(text: str) -> bool:
    """It has not one 。 in 200 characters.

    Source: HojiChar's DiscardRareKuten, whose own 100 drops manuals that quote commands.
    """
    return _rejects(_rare_stops(), text)


def repeated_phrases(text: str) -> bool:
    """Its most frequent 5-grams of characters are a third of all.

    Source: HojiChar's CharRepetitionRatioFilter, after BigScience's ROOTS (arXiv 2303.03915).
    """
    return _rejects(_repetition(), text)


def advertising(text: str) -> bool:
    """It has more than 14 set phrases of shops.  Source: HojiChar's DiscardAds."""
    return _rejects(_advertisements(), text)


def adult_words(text: str) -> bool:
    """More than 5 % of its characters are in words of pornography, of which it has three; a sample is looked at.

    Source: the words are HojiChar's, the share is Swallow Corpus's.  One word says nothing: four of five works of
    Japanese literature have one, and the list has the word for "insert".
    """
    sample = sample_text(text, _ADULT_SAMPLE_CHARACTERS)
    found = [match.group() for match in _adult_words().finditer(sample)]
    return len(set(found)) >= _ADULT_WORDS and sum(map(len, found)) > 0.05 * len(sample)


def _rejects(rule: Any, text: str) -> bool:
    from hojichar import Document

    return bool(rule.apply(Document(text)).is_rejected)


@cache
def _rare_stops() -> Any:
    return _hojichar().DiscardRareKuten(max_average_sentence_length=200)


@cache
def _repetition() -> Any:
    return _hojichar().CharRepetitionRatioFilter(threshold=0.33, ngram_size=5)


@cache
def _advertisements() -> Any:
    return _hojichar().DiscardAds(max_allowed_num=14)


@cache
def _adult_words() -> re.Pattern[str]:
    words = files("hojichar").joinpath("dict", "adult_keywords_ja.txt").read_text(encoding="utf-8").split("\n")
    return words_pattern([word.strip() for word in words if word.strip()])


def _hojichar() -> Any:
    return need("hojichar.filters.document_filters", "Filters")
