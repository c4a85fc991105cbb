"""The drawings: Japanese letters have glyphs, colours are the page's, the process is left as it was."""

from __future__ import annotations

import warnings
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest

from moyai.report import charts
from moyai.report.lineage import read_run
from moyai.report.scores import ModelScores


def test_japanese_letters_are_drawn(make_run: Any) -> None:
    report = read_run(make_run())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss = charts.loss_chart(report.trainings)
        load = charts.expert_load_chart(report.scores[-1])
    assert [str(warning.message) for warning in caught] == []
    for drawing in (loss, load):
        ElementTree.fromstring(drawing)
        assert "IPAexGothic" in drawing
        assert "<text" not in drawing
        assert "var(--ink)" in drawing
        assert "#01010" not in drawing
        assert "<image" not in drawing


def test_settings_of_the_process_are_put_back(make_run: Any) -> None:
    # asking for the backend settles it, and that alone would count as a change
    matplotlib.get_backend()
    before = matplotlib.rcParams.copy()
    charts.loss_chart(read_run(make_run(until="warmup")).trainings)
    assert matplotlib.rcParams == before


@pytest.mark.parametrize(("num_layers", "num_experts"), [(2, 2), (40, 8), (3, 64)])
def test_expert_load_of_any_shape(num_layers: int, num_experts: int) -> None:
    even = tuple(tuple(1 / num_experts for _ in range(num_experts)) for _ in range(num_layers))
    scores = ModelScores(name="m", expert_load={"ja": even, "en": even})
    drawing = charts.expert_load_chart(scores)
    assert drawing.count("var(--ja)") >= num_layers * num_experts


def test_one_language_has_no_difference() -> None:
    load = ((0.5, 0.5),)
    both = charts.expert_load_chart(ModelScores(name="m", expert_load={"ja": load, "en": load}))
    one = charts.expert_load_chart(ModelScores(name="m", expert_load={"ja": load}))
    assert len(one) < len(both)
    assert "var(--en)" not in one


def test_loss_that_is_not_a_number_leaves_a_gap(make_run: Any) -> None:
    run_dir = make_run(until="warmup")
    log = run_dir / "02-warmup" / "training_log.jsonl"
    lines = ('{"step": 1, "tokens": 9, "loss": NaN}', '{"step": 2, "tokens": 18, "loss": 2.5}')
    log.write_text("\n".join(lines), encoding="utf-8")
    ElementTree.fromstring(charts.loss_chart(read_run(run_dir).trainings))
