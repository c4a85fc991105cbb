"""Targets of a mixture: whole numbers that add up, whatever was asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.mixing.token_targets import divide, token_targets
from moyai.errors import UserError
from moyai.recipe.corpus_settings import SourceAmount
from moyai.recipe.settings import PretrainSettings


def amounts(**given_: dict[str, float]) -> dict[str, SourceAmount]:
    return {name: SourceAmount.model_validate(amount) for name, amount in given_.items()}


@settings(max_examples=100, deadline=None)
@given(
    total=st.integers(1, 10**15),
    shares=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8),
    temperature=st.none() | st.floats(0.2, 100),
    data=st.data(),
)
def test_targets_always_add_up_to_the_tokens(total: int, shares: list[float], temperature: float | None, data: Any) -> None:
    sizes = {str(number): data.draw(st.integers(1, 10**12)) for number in range(len(shares))}
    asked = {name: SourceAmount(share=share) for name, share in zip(sizes, shares, strict=True)}
    targets = token_targets(asked, sizes, total=total, temperature=temperature)
    assert sum(targets.values()) == total
    assert all(target >= 0 for target in targets.values())


def test_temperature_is_in_proportion_to_size_at_1_and_even_where_it_is_large() -> None:
    asked, sizes = amounts(small={"share": 1.0}, large={"share": 1.0}), {"small": 100, "large": 900}
    assert token_targets(asked, sizes, total=1000, temperature=1.0) == sizes
    assert token_targets(asked, sizes, total=1000, temperature=2.0) == {"small": 250, "large": 750}
    assert token_targets(asked, sizes, total=1000, temperature=1e9) == {"small": 500, "large": 500}
    assert token_targets(asked, sizes, total=1000) == {"small": 500, "large": 500}


def test_tokens_and_epochs_come_first_and_shares_divide_the_rest() -> None:
    asked = amounts(code={"tokens": 300}, book={"epochs": 2.5}, ja={"share": 3.0}, en={"share": 1.0})
    sizes = {"code": 10, "book": 100, "ja": 5, "en": 5}
    assert token_targets(asked, sizes, total=950) == {"code": 300, "book": 250, "ja": 300, "en": 100}
    with pytest.raises(UserError, match="come to 550 tokens, and tokens is 549"):
        token_targets(asked, sizes, total=549)
    with pytest.raises(UserError, match="come to 300 tokens, and tokens is 301"):
        token_targets(amounts(code={"tokens": 300}), sizes, total=301)


def test_divide_gives_the_largest_remainders_the_rest() -> None:
    assert divide(7, {"a": 1.0, "b": 2.0, "c": 0.5}) == {"a": 2, "b": 4, "c": 1}
    assert divide(0, {"a": 1.0}) == {"a": 0}
    assert divide(5, {"b": 1.0, "a": 1.0}) == {"a": 3, "b": 2}, "equal ones in the order of their names"


# Billions of tokens, as printed in the model card of llm-jp-3.1-8x13b.
LLM_JP = {
    "ja_wikipedia": 2.6, "ja_cc": 762.8, "ja_warp_pdf": 237.3, "ja_warp_html": 2.7, "ja_kaken": 1.8,
    "en_wikipedia": 4.7, "en_cc": 608.5, "en_c4": 181.6, "en_reddit": 83.1, "en_pes2o": 62.9, "en_gutenberg": 5.5,
    "en_wiki": 3.9, "code_stack": 114.1, "zh_wikipedia": 0.8, "ko_wikipedia": 0.3,
}  # fmt: skip


def test_the_table_of_a_model_card_is_a_mixture_to_the_token() -> None:
    table = {name: round(billions * 1e9) for name, billions in LLM_JP.items()}
    chosen = PretrainSettings.model_validate({"corpus": {name: {"tokens": count} for name, count in table.items()}})
    assert chosen.tokens == 2_072_600_000_000
    sizes = {name: count // 3 + 1 for name, count in table.items()}
    assert token_targets(chosen.corpus, sizes, total=chosen.tokens) == table


def test_a_small_temperature_gives_the_largest_source_nearly_all() -> None:
    asked, sizes = amounts(small={"share": 1.0}, large={"share": 1.0}), {"small": 10**11, "large": 10**12}
    for temperature in (0.01, 1e-9):
        assert token_targets(asked, sizes, total=1000, temperature=temperature) == {"small": 0, "large": 1000}
