"""The language of a text, also of one that is long, short or mixed."""

from __future__ import annotations

import pytest

from moyai.corpus.quality.language import language_of, sample_text

SENTENCES = {
    "ja": "潮が満ちると、子どもたちは岩場から帰ってきた。",
    "en": "When the tide came in, the children walked back from the rocks.",
    "zh": "涨潮的时候，孩子们从礁石上走了回来，老人还坐在那里。",
    "ko": "밀물이 들어오자 아이들은 바위에서 돌아왔다.",
    "de": "Als die Flut kam, gingen die Kinder von den Felsen zurück.",
    "fr": "Quand la marée est montée, les enfants sont revenus des rochers.",
    "es": "Cuando subió la marea, los niños volvieron de las rocas.",
    "ru": "Когда начался прилив, дети вернулись со скал.",
    "vi": "Khi thủy triều lên, lũ trẻ từ bãi đá trở về nhà.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_one_sentence(language: str) -> None:
    assert language_of(SENTENCES[language]) == language


def test_identifiers_do_not_make_a_manual_english() -> None:
    assert language_of("`torch.nn.Linear` は `in_features` と `out_features` を取る。`bias=False` なら偏りはない。") == "ja"


def test_a_long_text_is_judged_by_all_its_parts() -> None:
    long = SENTENCES["en"] + SENTENCES["ja"] * 1000
    assert language_of(long) == "ja"
    assert len(sample_text(long, 300)) == 902
    assert sample_text("abc" * 300, 300) == "abc" * 300
    assert sample_text("a" * 400 + "b" * 400 + "c" * 400, 300) == "\n".join((300 * "a", 300 * "b", 300 * "c"))


def test_nothing_to_judge_by() -> None:
    assert language_of("") == language_of("") != "ja"
