"""Reading a run: order, lineage, scores, totals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moyai.report.lineage import RunReport, read_run
from moyai.report.route import draw_route

BRANCHED = """\
moyai: 1
name: branched
base: HuggingFaceTB/SmolLM2-135M-Instruct@main
stages:
  - extend: {corpus: "starter:ja_text", pieces: 1000}
  - pretrain: {name: warmup, from: init, corpus: "starter:ja_text", tokens: 1000}
  - upcycle: {experts: 4, from: extend}
  - verify: {against: extend}
"""


def test_stages_scores_and_totals(make_run: Any) -> None:
    report = read_run(make_run())
    checkpoints = ["init", "extend", "warmup", "upcycle", "pretrain", "sft"]
    assert [stage.name for stage in report.lineage] == checkpoints
    assert [model.name for model in report.scores] == checkpoints
    assert report.final is not None
    assert report.final.name == "sft"
    assert report.release is not None
    assert report.remaining == ()
    assert report.num_training_tokens == 60_000 + 120_000 + 41_300
    assert report.num_parameters == 374_035_968
    assert report.seconds == pytest.approx(562.9)
    assert report.base_repo == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert report.facts("versions")["python"] == ("3.11.7",)
    assert len(report.trainings[1].training) == 58


def test_unfinished_run_knows_what_remains(make_run: Any) -> None:
    report = read_run(make_run(until="upcycle"))
    assert [step.name for step in report.remaining] == ["verify", "pretrain", "sft", "evaluate", "export"]
    assert report.scores == ()
    assert report.final is not None
    assert report.final.name == "upcycle"


@pytest.mark.parametrize(
    ("source", "repo"),
    [
        ("mistralai/Mistral-7B-v0.1@main", "mistralai/Mistral-7B-v0.1"),
        ("pypi:someone==1.0/model.gguf", None),
        ("./model.gguf", None),
        ("./checkpoint", None),
        ("was/a/directory", None),
    ],
)
def test_only_a_published_base_is_named(make_run: Any, source: str, repo: str | None) -> None:
    assert read_run(make_run(until="init", change={"init": {"source": source}})).base_repo == repo


def test_boxes_never_overlap(make_run: Any) -> None:
    _check_route(read_run(make_run()))


def test_branches_have_lanes_of_their_own(make_run: Any) -> None:
    report = read_run(make_run(until="init", recipe=BRANCHED))
    boxes = _check_route(report)
    assert boxes["extend"].x == boxes["warmup"].x
    assert boxes["upcycle"].y == boxes["extend"].y
    assert boxes["verify"].x > boxes["upcycle"].x


def _check_route(report: RunReport) -> dict[str, Any]:
    route = draw_route(report)
    boxes = list(route.boxes)
    for index, one in enumerate(boxes):
        assert one.x >= 0
        assert one.x + one.width <= route.width
        assert one.y + one.height <= route.height
        for other in boxes[index + 1 :]:
            apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
            apart_y = one.y + one.height <= other.y or other.y + other.height <= one.y
            assert apart_x or apart_y, (one.node.name, other.node.name)
    return {box.node.name: box for box in boxes}


def test_relative_directory_works(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = make_run(until="extend")
    monkeypatch.chdir(run_dir)
    report = read_run(Path())
    assert report.final is not None
    assert str(report.path_of(report.final, "config.json")) == "01-extend/config.json"
