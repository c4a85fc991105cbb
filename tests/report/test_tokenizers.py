"""What a token holds, before and after: rows, drawing, page and card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from moyai.report import build_report, charts
from moyai.report.lineage import read_run
from moyai.report.tokenizers import VocabularyReport, vocabulary_reports

AFTER_ALONE = {"efficiency": {"texts": {"ja": {"characters": 90, "bytes": 270, "tokens": {"after": 45}}}}}


def report(run_dir: Any) -> VocabularyReport:
    (found,) = vocabulary_reports(read_run(run_dir))
    return found


def test_rows(make_run: Any) -> None:
    japanese, english = report(make_run(until="extend")).holdings
    assert japanese.text == "starter:ja_text"
    assert japanese.characters_before == pytest.approx(0.56)
    assert japanese.characters_after == pytest.approx(1.109, abs=1e-3)
    assert japanese.bytes_after == pytest.approx(16_500 / 5_050)
    assert japanese.change is not None
    assert english.change is not None
    assert (japanese.change.verdict, english.change.verdict) == ("better", "same")


def test_a_vocabulary_that_has_none_before_it(make_run: Any) -> None:
    (holding,) = report(make_run(until="extend", change={"extend": AFTER_ALONE})).holdings
    assert (holding.characters_before, holding.characters_after, holding.bytes_after) == (None, 2.0, 6.0)
    assert holding.change is None


def test_a_record_that_does_not_tell(make_run: Any) -> None:
    assert vocabulary_reports(read_run(make_run(until="extend", change={"extend": {"efficiency": {}}}))) == ()


@pytest.mark.parametrize(("change", "num_bars"), [({}, 4), ({"extend": AFTER_ALONE}, 1)])
def test_the_drawing(make_run: Any, change: dict[str, Any], num_bars: int) -> None:
    drawing = charts.vocabulary_chart(report(make_run(until="extend", change=change)))
    ElementTree.fromstring(drawing)
    assert drawing.count("fill: var(--accent)") + drawing.count("fill: var(--muted); opacity") == num_bars
    assert "<text" not in drawing
    assert 'id="vocabulary-extend-' in drawing


def test_page_and_card_tell_it(make_run: Any) -> None:
    run_dir = make_run(until="extend")
    built = build_report(run_dir)
    page, card = (path.read_text(encoding="utf-8") for path in (built.page, built.card))
    assert "0.56 → 1.11" in page
    assert "×1.98" in page
    assert "pale: before, full: after" in page
    assert "| starter:ja_text | 5,600 | 0.56 → 1.11 | 1.65 → 3.27 |" in card


def test_other_tokenizers_stand_beside_it_in_table_drawing_and_card(make_run: Callable[..., Path]) -> None:
    tokens = {"before": 200, "after": 100, "llm-jp-v3.1": 125}
    texts = {"ja_text": {"characters": 250, "bytes": 700, "tokens": tokens}}
    run_dir = make_run(change={"extend": {"efficiency": {"texts": texts}}})
    build_report(run_dir)
    card, page = ((run_dir / name).read_text(encoding="utf-8") for name in ("README.md", "index.html"))
    assert "| llm-jp-v3.1 |" in card
    assert "| 1.25 → 2.50 | 3.50 → 7.00 | 2.00 |" in card
    assert page.count("llm-jp-v3.1") >= 1
    assert '<td class="number">2.00</td>' in page
