"""Rules for English text; each is true for a text that is to be dropped."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.corpus.extras import need
from moyai.corpus.quality.language import sample_text

_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_SENTENCE_ENDS = (".", "!", "?", '"', "'", ")", "”", "’")
# Gopher (arXiv 2112.11446), table A1: length of an n-gram of words -> largest share of the characters
_TOP_NGRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED_WORDS, _REPEATED_SHARE = 10, 0.3
_ADULT_SAMPLE_CHARACTERS, _ADULT_WORDS = 1000, 3
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def too_short(text: str, *, num_words: int) -> bool:
    """It has fewer words than that.  Source: Gopher (arXiv 2112.11446, appendix A.1.1) asks for 50."""
    return len(_words(text)) < num_words


def word_length(text: str) -> bool:
    """Its words have less than 3 or more than 10 characters on average.  Source: Gopher, as above."""
    words = _words(text)
    return not 3 * len(words) <= sum(map(len, words)) <= 10 * len(words)


def few_letters(text: str) -> bool:
    """Less than 80 % of its words have a letter.  Source: Gopher, as above."""
    words = _words(text)
    return sum(any(map(str.isalpha, word)) for word in words) < 0.8 * len(words)


def many_symbols(text: str) -> bool:
    """It has more than one # or one ellipsis in ten words.  Source: Gopher, as above."""
    most = 0.1 * len(_words(text))
    return text.count("#") > most or text.count("...") + text.count("…") > most


def no_sentences(text: str) -> bool:
    """It has not two of the eight commonest words, or less than 12 % of its lines end as sentences do.

    Source: Gopher, as above, and FineWeb (arXiv 2406.17557).
    """
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    ended = sum(line.endswith(_SENTENCE_ENDS) for line in lines)
    return len(_STOP_WORDS.intersection(map(str.lower, _words(text)))) < 2 or ended < 0.12 * len(lines)


def placeholder(text: str) -> bool:
    """It says "lorem ipsum".  Source: C4 (arXiv 1910.10683).

    C4's rule against curly brackets is left out: it drops every page on programming.
    """
    return "lorem ipsum" in text.lower()


def repeated_phrases(text: str) -> bool:
    """One run of 2, 3 or 4 words makes up a fifth or so of it, or 30 % are runs of 10 words that stood there before.

    Source: Gopher, table A1, whose share of repeated runs is 10 %; a fifth of the reference pages of programming
    languages go beyond that.
    """
    words = _words(text)
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.uint64)
    lengths = np.array([len(word) for word in words])
    if any(_top_share(ids, lengths, n) > most for n, most in _TOP_NGRAMS.items()):
        return True
    return _repeated_share(ids, lengths, _REPEATED_WORDS) > _REPEATED_SHARE


def adult_words(text: str) -> bool:
    """More than 5 % of its characters are in words of pornography, of which it has three; a sample is looked at.

    Source: the words are HojiChar's; the share is Swallow Corpus's (arXiv 2404.17733) for Japanese.  C4 drops a page
    for one such word, and with it much that is about medicine and minorities (arXiv 2104.08758).
    """
    sample = sample_text(text, _ADULT_SAMPLE_CHARACTERS)
    found = [match.group(1).lower() for match in _adult_words().finditer(sample)]
    return len(set(found)) >= _ADULT_WORDS and sum(map(len, found)) > 0.05 * len(sample)


def _top_share(ids_W: NDArray[np.uint64], lengths_W: NDArray[np.int64], n: int) -> float:
    """Share of the characters that the commonest n-gram makes up, 0 where none comes twice."""
    hashes = _ngram_hashes(ids_W, n)
    if not len(hashes):
        return 0.0
    _, first, times = np.unique(hashes, return_index=True, return_counts=True)
    top = times.argmax()
    length = lengths_W[first[top] : first[top] + n].sum()
    return float(length * times[top] / lengths_W.sum()) if times[top] > 1 else 0.0


def _repeated_share(ids_W: NDArray[np.uint64], lengths_W: NDArray[np.int64], n: int) -> float:
    """Share of the characters inside n-grams that stood there before."""
    hashes = _ngram_hashes(ids_W, n)
    if not len(hashes):
        return 0.0
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(hashes)))
    edges = np.zeros(len(ids_W) + 1, np.int64)
    edges[again] += 1
    edges[again + n] -= 1
    return float(lengths_W[np.cumsum(edges[:-1]) > 0].sum() / lengths_W.sum())


def _ngram_hashes(ids_W: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    num = max(0, len(ids_W) - n + 1)
    hashes = np.zeros(num, np.uint64)
    for start in range(n):
        hashes = hashes * _HASH_FACTOR + ids_W[start : start + num] + np.uint64(1)
    return hashes


@lru_cache(maxsize=1)
def _words(text: str) -> list[str]:
    return text.split()


@cache
def _adult_words() -> Any:
    return need("hojichar.filters.document_filters", "Filters").DiscardAdultContentEn().keyword_pat
