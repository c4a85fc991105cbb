"""Learning joins: as byte-pair encoding written down plainly does it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.progress import SilentProgress
from moyai.tokenizer.extension.learn import Learner
from moyai.tokenizer.extension.words import Symbol, Words


def words_of(counts: dict[str, int], unknown: str = "") -> Words:
    chars = sorted({char for word in counts for char in word})
    symbols = tuple(
        Symbol(char, (1, 2, 3), is_piece=False) if char in unknown else Symbol(char, (10 + ord(char),)) for char in chars
    )
    sequence, weights = [], []
    for word in sorted(counts):
        sequence += [*map(chars.index, word), -1]
        weights += [counts[word]] * (len(word) + 1)
    return Words(symbols, np.array(sequence, np.int32), np.array(weights, np.int64))


def learner_of(words: Words, **changes: object) -> Learner:
    settings_ = {
        "existing": frozenset(),
        "closed": False,
        "allows": lambda text: True,
        "min_frequency": 1,
        "num_pieces": 100,
    }
    return Learner(words, **(settings_ | changes))  # type: ignore[arg-type]


def learn(learner: Learner, num_pieces: int) -> dict[str, tuple[int, ...]]:
    with SilentProgress().bar("", total=num_pieces, unit="pieces") as bar:
        learner.learn(num_pieces, bar)
    return learner.pieces


def best_saving(words: dict[tuple[str, ...], int], pieces: set[str]) -> int:
    """What the best single pair of neighbours would save, counted naively."""
    saved: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        place: dict[tuple[str, str], int] = {}
        for start in range(len(word) - 1):
            pair = (word[start], word[start + 1])
            if place.get(pair, -2) != start - 1 or pair[0] != pair[1]:
                saved[pair] += count
                place[pair] = start
    return max((count for pair, count in saved.items() if "".join(pair) not in pieces), default=0)


def joined(word: tuple[str, ...], text: str) -> tuple[str, ...]:
    """A word with every two neighbours joined that add up to `text`, from left to right."""
    made: list[str] = []
    for symbol in word:
        if made and made[-1] + symbol == text:
            made[-1] = text
        else:
            made.append(symbol)
    return tuple(made)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text("abcd", min_size=1, max_size=9), st.integers(1, 9), min_size=1, max_size=9))
def test_each_piece_saves_as_much_as_any_single_pair_could(counts: dict[str, int]) -> None:
    words = {tuple(word): count for word, count in counts.items()}
    learner = learner_of(words_of(counts))
    pieces: set[str] = set()
    for number in range(1, 12):
        before = learner.num_tokens()
        best = best_saving(words, pieces)
        if len(learn(learner, number)) < number:
            break
        text = list(learner.pieces)[-1]
        assert before - learner.num_tokens() >= best
        assert learner.last_saving >= best
        pieces.add(text)
        words = _closed({joined(word, text): 0 for word in ()} | _joined_all(words, text), pieces)
        if sum(len(word) * count for word, count in words.items()) != learner.num_tokens():
            break  # overlapping joins for nothing may be done in another order; both are the same pieces


def _joined_all(words: dict[tuple[str, ...], int], text: str) -> dict[tuple[str, ...], int]:
    made: Counter[tuple[str, ...]] = Counter()
    for word, count in words.items():
        made[joined(word, text)] += count
    return dict(made)


def _closed(words: dict[tuple[str, ...], int], pieces: set[str]) -> dict[tuple[str, ...], int]:
    while True:
        before = words
        for piece in sorted(pieces, key=len):
            words = _joined_all(words, piece)
        if words == before:
            return words


def test_an_overlapping_run_is_joined_from_the_left() -> None:
    learner = learner_of(words_of({"aaaaa": 3}))
    assert list(learn(learner, 1)) == ["aa"]
    assert learner.num_tokens() == 3 * 3
    assert learner.piece_counts() == {"aa": 6}


def test_a_piece_is_found_under_all_its_splits() -> None:
    """`abc` is joined from `ab` `c` where it is frequent, and from `a` `bc` too where `bc` came first."""
    learner = learner_of(words_of({"ab": 50, "abc": 40, "xbc": 5, "bc": 60}))
    pieces = list(learn(learner, 3))
    assert set(pieces) >= {"bc", "ab"}
    assert "abc" in pieces
    assert learner.piece_counts()["abc"] == 40


def test_a_character_comes_before_anything_made_with_it() -> None:
    learner = learner_of(words_of({"舟の": 9, "の": 90}, unknown="舟"))
    assert learner.num_tokens() == 9 * 4 + 90
    assert learn(learner, 2) == {"舟": (1, 2, 3), "舟の": (1, 2, 3, 10 + ord("の"))}
    assert learner.num_tokens() == 9 + 90


def test_what_is_there_already_is_no_piece() -> None:
    assert list(learn(learner_of(words_of({"ab": 9, "cd": 3}), existing=frozenset({"ab"})), 5)) == ["cd"]


def test_a_join_that_spells_an_old_piece_costs_nothing_where_any_split_counts() -> None:
    words = words_of({"abc": 9, "ab": 20})
    learner = learner_of(words, existing=frozenset({"abc"}), closed=True)
    assert list(learn(learner, 5)) == ["ab"]
    assert learner.num_tokens() == 9 + 20, "abc is one token as soon as ab is"


def test_rare_and_forbidden_joins_are_left_out() -> None:
    words = words_of({"ab": 9, "cd": 3, "ef": 7})
    assert list(learn(learner_of(words, min_frequency=5, allows=lambda text: text != "ef"), 5)) == ["ab"]
