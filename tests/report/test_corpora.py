"""What card and page say of a corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from moyai.recipe.record import Identity, Record
from moyai.report import build_report
from moyai.report.corpora import prepared_line
from moyai.report.lineage import StageReport
from moyai.report.wording import key_figure


def stage(**results: Any) -> StageReport:
    identity = Identity(kind="prepare", revision=1, settings={}, parents=(), outside={})
    counts = {"num_documents": 70, "num_read": 1_100, "num_tokens": 52_000, "contamination": None}
    record = Record(
        moyai="0", name="books", identity=identity, fingerprint="f", results=counts | results, versions={}, machine={},
        started="", seconds=1.0, peak_bytes=1, resumed=0,
    )  # fmt: skip
    return StageReport(Path("01-books"), record, "corpus", (), None)


def test_documents_and_reasons_with_the_most_frequent_first() -> None:
    line = prepared_line(stage(dropped={"held out": 10, "language": 1_000, "too short": 10, "list": 10}))
    assert line == (
        "- `books`: 70 of 1,100 documents, 52,000 tokens; left out: 1,000 language, 10 held out, 10 list, 10 too short;"
        " evaluation texts were not looked for"
    )


def test_contamination_is_told_with_what_was_done_about_it() -> None:
    sets = {"quiz": {"items": 5, "documents": 3}, "other": {"items": 5, "documents": 0}}
    left = prepared_line(stage(dropped={}, contamination={"action": "report", "sets": sets}))
    assert "left out: none; documents with text of 2 evaluation sets, left in: 3 of quiz" in left
    clean = prepared_line(stage(dropped={}, contamination={"action": "drop", "sets": {"other": sets["other"]}}))
    assert clean.endswith("documents with text of 1 evaluation sets, dropped: none")


def test_the_figure_to_remember() -> None:
    figure = key_figure(stage(dropped={}))
    assert (figure.figure, figure.detail) == ("52.0k tokens", "70 of 1,100 documents")


def test_the_page_says_what_was_left_out_of_each_source(make_run: Callable[..., Path]) -> None:
    run_dir = make_run(until="init", recipe=None)
    counts = {"read": 12, "documents": 9, "tokens": 1234, "dropped": {"too short": 1, "held out": 2}}
    sets = {"quiz": {"items": 5, "documents": 3}, "other": {"items": 5, "documents": 0}}
    looked = {"action": "drop", "sets": sets}
    for contamination, said in ((looked, "dropped:</span> quiz 3</p>"), (None, "were not looked for")):
        prepared = stage(dropped=counts["dropped"], sources={"ja": counts}, contamination=contamination)
        directory = run_dir / "01-prepare"
        directory.mkdir(exist_ok=True)
        (directory / "record.json").write_text(prepared.record.model_dump_json(), encoding="utf-8")
        build_report(run_dir)
        page = (run_dir / "index.html").read_text(encoding="utf-8")
        assert "held out 2, too short 1" in page
        assert "1,234" in page
        assert said in page
