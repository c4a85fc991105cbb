"""Counting words: cut where no piece may cross, and a fair sample where there are too many."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from moyai.errors import InputFileError
from moyai.progress import SilentProgress
from moyai.tokenizer.extension import word_counts
from moyai.tokenizer.extension.word_counts import Boundaries, CorpusWords, count_words
from moyai.tokenizer.vocabulary import BaseVocabulary, read_vocabulary
from tokenizer.conftest import write_family


def count(base: BaseVocabulary, texts: list[str], boundaries: Boundaries | None = None) -> CorpusWords:
    with SilentProgress().bar("", total=0, unit="characters") as bar:
        return count_words(base, texts, boundaries=boundaries, bar=bar)


def spelled(corpus: CorpusWords) -> dict[str, int]:
    """Words and counts, read back from the arrays."""
    words, symbols = corpus.words, corpus.words.symbols
    found: dict[str, int] = {}
    word = ""
    for number, times in zip(words.sequence.tolist(), words.counts.tolist(), strict=True):
        if number < 0:
            found[word] = times
            word = ""
        else:
            word += symbols[number].text
    return found


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> BaseVocabulary:
    return read_vocabulary(write_family(tmp_path_factory.mktemp("mistral"), "mistral"))


def test_words_end_with_their_script_and_unknown_characters_count_as_one(mistral: BaseVocabulary) -> None:
    found = spelled(count(mistral, ["、漣漪が寄せる。3漣漪。漣漪\n漣漪"]))
    assert found["漣漪"] == 3
    assert found["漣漪が寄せる"] == 1
    assert not [word for word in found if any(char in word for char in "3\n<")]


def test_boundaries_cut_besides(mistral: BaseVocabulary) -> None:
    found = spelled(count(mistral, ["、漣漪漣漪"], lambda text: [text.index("漪漣") + 1]))
    assert found == {"漣漪": 2, "▁、": 1}


@pytest.mark.parametrize("family", ["smollm2", "mistral", "llm-jp"])
def test_no_token_is_counted_more_often_than_it_stands(tmp_path: Path, family: str, japanese: list[str]) -> None:
    base = read_vocabulary(write_family(tmp_path, family))
    corpus = count(base, japanese)
    assert corpus.num_characters == sum(map(len, japanese))
    used: Counter[int] = Counter()
    for number, times in zip(corpus.words.sequence.tolist(), corpus.words.counts.tolist(), strict=True):
        if number >= 0:
            used.update(dict.fromkeys(corpus.words.symbols[number].ids[:1], times))
    encoded = Counter(id_ for text in japanese for id_ in base.tokenizer.encode(text, add_special_tokens=False).ids)
    assert all(times <= encoded[id_] for id_, times in used.items())
    # words of a single token teach nothing and are left out, which are few in this text
    assert sum(used.values()) > 0.4 * sum(encoded.values())


def test_too_many_words_leave_a_fair_sample_whatever_the_order(
    mistral: BaseVocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = random.Random(1)
    texts = ["".join(drawn.choices("いろはにほへとちりぬる", k=12)) for _ in range(4000)]
    assert count(mistral, texts).share_counted == 1
    monkeypatch.setattr(word_counts, "MAX_SYMBOLS", 1200 * 12)
    sampled = count(mistral, texts)
    assert sampled.share_counted == 0.25
    assert 700 < len(spelled(sampled)) <= 1200
    assert spelled(count(mistral, drawn.sample(texts, len(texts)))) == spelled(sampled)


def test_half_a_character_is_refused(mistral: BaseVocabulary) -> None:
    with pytest.raises(InputFileError, match="half a character"):
        count(mistral, ["a\udc00"])
