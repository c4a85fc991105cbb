"""Changes against the base: signs, verdicts, and figures that have no meaning."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from moyai.report.number_format import format_change, format_ratio
from moyai.report.scores import Change, ModelScores, Quiz, score_rows

positive = st.floats(min_value=1e-3, max_value=1e3)


@given(before=positive, after=positive, lower=st.booleans())
def test_sign_and_verdict_agree(before: float, after: float, lower: bool) -> None:
    change = Change(before, after, lower_is_better=lower)
    text = format_change(change)
    if change.verdict == "same":
        assert text == "±0.0 %"
    else:
        assert text[0] == ("+" if after > before else "−")
        assert (change.verdict == "better") == ((after < before) == lower)


def test_a_change_without_meaning_says_so() -> None:
    assert format_change(Change(0.0, 1.0, lower_is_better=True)) == "n/a"
    assert format_ratio(Change(0.0, 1.0, lower_is_better=True)) == "n/a"
    diverged = Change(2.0, math.inf, lower_is_better=True)
    assert (format_change(diverged), diverged.verdict) == ("n/a", "worse")


def test_the_first_checkpoint_is_the_measure_of_the_others() -> None:
    base = ModelScores(name="init", bits_per_byte={"ja": 2.0})
    other = ModelScores(name="sft", bits_per_byte={"ja": 1.5, "en": 1.0})
    first, second = score_rows((base, other))
    assert first.bits_per_byte["ja"].change is None
    assert second.bits_per_byte["ja"].change == Change(2.0, 1.5, lower_is_better=True)
    assert second.bits_per_byte["en"].change is None
    assert score_rows(()) == ()


def test_intervals() -> None:
    low = Quiz(accuracy=0.2, num_correct=28, num_questions=140, interval=(0.14, 0.27))
    high = Quiz(accuracy=0.4, num_correct=56, num_questions=140, interval=(0.32, 0.48))
    assert low.holds(0.2)
    assert not high.holds(0.2)
    assert not low.overlaps(high)
    assert low.overlaps(low)
