"""A plan as a person reads it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moyai.plan.plan import Plan, PlannedStage
from moyai.plan.quantities import format_bytes, format_count, format_flops, format_seconds


def plan_table(plan: Plan) -> RenderableType:
    """The stages, the texts they read, the totals, and what was assumed."""
    parts: list[RenderableType] = [_stages(plan)]
    if any(stage.sources for stage in plan.stages):
        parts += [Text(), _texts(plan)]
    parts += [Text(), Text("The same work elsewhere: " + _elsewhere(plan))]
    parts += [Text(f"Assumed: {assumption}", style="dim") for assumption in plan.assumptions]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in plan.warnings]
    return Group(*parts)


def _stages(plan: Plan) -> Table:
    title, totals = f"{plan.recipe}: {plan.base}", plan.totals
    table = Table(title=title, title_justify="left", box=None, show_footer=True, pad_edge=False)
    table.add_column("stage", footer="total", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("active", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("FLOPs", footer=format_flops(totals.flops), justify="right", no_wrap=True)
    table.add_column("disk", footer=format_bytes(totals.disk_bytes), justify="right", no_wrap=True)
    table.add_column("memory", footer=format_bytes(totals.memory_bytes), justify="right", no_wrap=True)
    table.add_column("time", footer=format_seconds(totals.seconds), justify="right", no_wrap=True)
    for stage in plan.stages:
        table.add_row(*_cells(stage))
    return table


def _cells(stage: PlannedStage) -> tuple[str, ...]:
    makes = stage.makes_checkpoint
    return (
        stage.name,
        f"{stage.total_parameters:,}" if makes else "",
        format_count(stage.active_parameters) if makes else "",
        _count(stage.tokens),
        _count(stage.steps),
        format_flops(stage.flops) if stage.flops else "",
        format_bytes(stage.written_bytes + stage.in_flight_bytes) if stage.written_bytes else "",
        format_bytes(stage.memory_bytes),
        format_seconds(stage.seconds) if stage.tokens is not None else "?",
    )


def _count(count: int | None) -> str:
    if count is None:
        return "?"
    return format_count(count) if count else ""


def _texts(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("text", no_wrap=True)
    table.add_column("read by", no_wrap=True)
    for heading in ("documents", "characters", "tokens", "taken", "epochs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in plan.stages:
        for use in stage.sources:
            table.add_row(
                use.source,
                stage.name,
                _exact(use.documents),
                _exact(use.characters),
                _about(use.source_tokens),
                _about(use.tokens) if use.tokens is not None else "",
                f"{use.epochs:.2f}" if use.epochs is not None else "",
            )
    return table


def _exact(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _about(count: int | None) -> str:
    return "?" if count is None else f"~{format_count(count)}"


def _elsewhere(plan: Plan) -> str:
    others = {name: seconds for name, seconds in plan.totals.seconds_on.items() if name != plan.machine}
    return "; ".join(f"{format_seconds(seconds)} on {name}" for name, seconds in others.items())
