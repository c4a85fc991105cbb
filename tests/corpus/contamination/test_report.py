"""The contamination report: counts add up, in one piece or in many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.corpus.contamination.evaluation_texts import Hit
from moyai.corpus.contamination.report import ContaminationReport, Sample, SetContamination, check
from moyai.errors import InputFileError
from moyai.recipe.corpus_settings import ContaminationSettings, CorpusSource

one_document = st.lists(
    st.builds(Hit, st.sampled_from(["a", "b"]), st.integers(1, 5), st.sampled_from(["海", "山"])), max_size=4
)


def empty() -> ContaminationReport:
    return ContaminationReport({"a": SetContamination(9, 5), "b": SetContamination(5, 5)}, ("LICENSE",))


@given(st.lists(one_document, max_size=40), st.integers(0, 40))
def test_reports_on_parts_add_up_to_the_report_on_all(documents: list[list[Hit]], cut: int) -> None:
    whole, first, second = empty(), empty(), empty()
    for number, hits in enumerate(documents):
        whole.count(f"d{number}", hits)
        (first if number < cut else second).count(f"d{number}", hits)
    first = ContaminationReport.from_json(json.loads(json.dumps(first.as_json())))
    first.add(second)
    assert first == whole
    assert whole.documents == len(documents)
    assert whole.contaminated == sum(map(bool, documents))
    for name, found in whole.sets.items():
        assert found.documents == sum(any(hit.set == name for hit in hits) for hits in documents)
        assert found.share == len({hit.item for hits in documents for hit in hits if hit.set == name}) / 5
        assert len({sample.document for sample in found.samples}) == len(found.samples) == min(10, found.documents)


def test_files_against_sets(tmp_path: Path) -> None:
    question = "電子機器で使用される最も主要な電子回路基板の事をなんと言う？"
    (tmp_path / "set.csv").write_text(f"{question},マザーボード\n北海道の先住民族のことを何と呼びますか？,アイヌ\n短い,x\n")
    rows = [{"id": "good", "text": "舟を岸に寄せる。"}, {"id": "bad", "text": f"問題。{question}答えは…"}]
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = CorpusSource(files=(f"{tmp_path}/*.jsonl",), id="id")
    report = check([source], ContaminationSettings(files=(f"{tmp_path}/set.csv",)))
    assert (report.documents, report.contaminated) == (4, 2)
    run = question.removesuffix("？") + "？答えは…"
    assert report.sets["set.csv"].samples[0].document == "bad"
    assert run.startswith(report.sets["set.csv"].samples[0].run)
    assert report.sets["set.csv"] == SetContamination(3, 2, {1}, 2, [Sample("bad", 1, question[:-1])] * 2)
    assert report.sets["set.csv"].share == 0.5


def test_a_broken_document_stops_the_check(tmp_path: Path) -> None:
    (tmp_path / "set.txt").write_text("北海道の先住民族のことを何と呼びますか？\n")
    (tmp_path / "one.jsonl").write_text('{"text": 5}\n')
    with pytest.raises(InputFileError, match=r"one\.jsonl line 1"):
        check([CorpusSource(files=(f"{tmp_path}/one.jsonl",))], ContaminationSettings(files=(f"{tmp_path}/set.txt",)))
