"""The page of a run: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from moyai.plan.quantities import format_bytes, format_count, format_seconds
from moyai.report import charts
from moyai.report.card import source_licence, source_name
from moyai.report.lineage import RunReport
from moyai.report.number_format import (
    format_change,
    format_interval,
    format_ratio,
    format_share,
    format_small,
)
from moyai.report.route import draw_route
from moyai.report.scores import GUESSING, ModelScores, score_rows
from moyai.report.statements import final_row, headline, limitations, score_notes
from moyai.report.tokenizers import vocabulary_reports
from moyai.report.wording import key_figure, kind_name, language_name

PAGE_NAME = "index.html"


def render_page(report: RunReport) -> str:
    """The whole text of index.html; sections of which nothing is known are left out."""
    template = _environment().get_template("page.html.j2")
    mixture = _last_mixture(report)
    trained = tuple(stage for stage in report.trainings if stage.training)
    return template.render(
        report=report,
        # our own style sheet and drawings: markup by intent, nothing of the user's is in them
        style=Markup(_resource("page.css")),
        headline=headline(report),
        route=draw_route(report),
        rows=score_rows(report.scores),
        final=final_row(report),
        notes=score_notes(report),
        limitations=limitations(report),
        guessing=GUESSING.get(report.suite.suite) if report.suite else None,
        languages=[(language, language_name(language)) for language in report.languages],
        trained=trained,
        loss=Markup(charts.loss_chart(trained)) if trained else "",
        mixture=mixture,
        load=Markup(charts.expert_load_chart(mixture)) if mixture else "",
        vocabularies=[(found, Markup(charts.vocabulary_chart(found))) for found in vocabulary_reports(report)],
        key_figure=key_figure,
        kind_name=kind_name,
        source_licence=source_licence,
        source_name=source_name,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=format_count,
        bytes=format_bytes,
        seconds=format_seconds,
        change=format_change,
        ratio=format_ratio,
        share=format_share,
        interval=format_interval,
        small=format_small,
    )
    return environment


def _resource(name: str) -> str:
    return resources.files("moyai.report").joinpath(name).read_text(encoding="utf-8")


def _last_mixture(report: RunReport) -> ModelScores | None:
    """The scores of the last checkpoint whose expert load was measured."""
    return next((model for model in reversed(report.scores) if model.expert_load), None)
