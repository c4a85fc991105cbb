"""The last thing a run prints: what came out, where it lies, and how to talk to it."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moyai.plan.quantities import format_bytes, format_seconds
from moyai.report.lineage import RunReport, StageReport, read_run
from moyai.report.number_format import format_change, format_interval, format_share, format_small
from moyai.report.page import PAGE_NAME
from moyai.report.scores import Measured, ScoreRow, score_rows
from moyai.report.wording import language_name

_COLOURS = {"better": "green", "worse": "red", "same": ""}


def summary_table(run_dir: Path) -> RenderableType:
    """A short table of a run, finished or stopped early, for `rich.console.Console.print`.

    Raises:
        InputFileError: no stage of `run_dir` is finished, or a file is not what its name says.
        RecipeError: the run's `recipe.yaml` does not fit the schema.
    """
    report = read_run(run_dir)
    parts: list[RenderableType] = []
    columns = _columns(report)
    if columns:
        parts += [_scores(report, columns), Text()]
    parts.append(_facts(report))
    return Group(*parts)


def _columns(report: RunReport) -> list[tuple[str, ScoreRow]]:
    """Base, after the vocabulary extension, and end, as far as they were scored and differ."""
    rows = {row.name: row for row in score_rows(report.scores)}
    final = report.final_scores
    wanted = [("base", report.scores[0].name)] if report.scores else []
    wanted += [("after extension", stage.name) for stage in report.lineage if stage.kind == "extend"]
    wanted += [("end", final.name)] if final else []
    first_title: dict[str, str] = {}
    for title, name in wanted:
        first_title.setdefault(name, title)
    return [(title, rows[name]) for name, title in first_title.items() if name in rows]


def _scores(report: RunReport, columns: list[tuple[str, ScoreRow]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("")
    for title, row in columns:
        table.add_column(Text.assemble(title, (f" ({row.name})", "dim")), justify="right")
    for language in report.languages:
        cells = [_measured(row.bits_per_byte.get(language), 3) for _, row in columns]
        table.add_row(f"{language_name(language).en} bits per byte ↓", *cells)
    for language in report.languages:
        cells = [_measured(row.characters_per_token.get(language), 2) for _, row in columns]
        table.add_row(f"{language_name(language).en} characters per token ↑", *cells)
    table.add_row("quiz accuracy (95 % interval) ↑", *(_quiz(row) for _, row in columns))
    return table


def _measured(measured: Measured | None, digits: int) -> Text:
    if measured is None:
        return Text("–", "dim")
    text = Text(f"{measured.value:.{digits}f}")
    if measured.change:
        text.append(f" {format_change(measured.change)}", _COLOURS[measured.change.verdict])
    return text


def _quiz(row: ScoreRow) -> Text:
    if row.quiz is None:
        return Text("–", "dim")
    return Text.assemble(format_share(row.quiz.accuracy), (f" ({format_interval(row.quiz)})", "dim"))


def _facts(report: RunReport) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    # a path that is cut cannot be copied
    table.add_column(overflow="fold")
    if not report.scores:
        for stage in report.of_kind("extend"):
            table.add_row("characters per token", _extension(stage))
    for stage in report.of_kind("verify"):
        table.add_row("certificate", _certificate(stage))
    parts = ", ".join(f"{stage.name} {format_seconds(stage.record.seconds)}" for stage in report.stages)
    table.add_row("time", Text(f"{format_seconds(report.seconds)} ({parts})"))
    table.add_row("peak memory", format_bytes(report.peak_bytes))
    if report.remaining:
        table.add_row("not done yet", Text(", ".join(step.name for step in report.remaining), "yellow"))
    page = report.run_dir / PAGE_NAME
    if page.is_file():
        table.add_row("page", Text(str(page)))
    if report.final:
        table.add_row("checkpoint", Text(str(report.final.directory)))
    if report.release and "file" in report.release.results:
        file = report.release.directory / report.release.results["file"]
        table.add_row("GGUF", Text(str(file)))
    else:
        file = report.final.directory if report.final else None
    if report.chats:
        table.add_row("talk to it", Text(f"moyai chat {shlex.quote(str(file))}", "bold cyan"))
    return table


def _extension(stage: StageReport) -> Text:
    """What the extension itself measured, for a run that was never evaluated."""
    found = stage.results.get("efficiency", {}).get("texts", {})
    parts = (
        f"{source} {counts['characters'] / counts['tokens']['before']:.2f}"
        f" → {counts['characters'] / counts['tokens']['after']:.2f}"
        for source, counts in found.items()
        if ": " not in source  # a domain of one of the others
    )
    return Text(", ".join(parts))


def _certificate(stage: StageReport) -> Text:
    results = stage.results
    same = results["same_function"]
    figures = (
        f" as {results['against']}: max |Δ logit| {format_small(results['max_abs_logit_difference'])}"
        f" (tolerance {format_small(results['tolerance'])}, {results['num_tokens']:,} tokens)"
    )
    verdict = ("✓ the same function", "green") if same else ("✗ not the same function", "red")
    return Text.assemble(f"{results['model']} is ", verdict, figures)
