"""The route of a run as boxes and lines: checkpoints from left to right, what was done with them below."""

from __future__ import annotations

from dataclasses import dataclass

from moyai.plan.quantities import format_seconds
from moyai.recipe.recipe import Step
from moyai.report.lineage import RunReport, StageReport
from moyai.report.wording import Bilingual, KeyFigure, key_figure, kind_name

_BOX_WIDTH, _BOX_HEIGHT = 170, 136
_SIDE_HEIGHT, _SIDE_INDENT = 84, 22
_GAP_X, _GAP_Y, _MARGIN = 32, 22, 3
_MAX_LETTERS = 23


@dataclass(frozen=True)
class Node:
    """One stage, done or to do."""

    name: str
    words: Bilingual
    parents: tuple[str, ...]
    is_checkpoint: bool
    state: str
    """`done`, `failed` (a certificate that says no), `remaining`."""
    figure: KeyFigure
    seconds: str
    fingerprint: str


@dataclass(frozen=True)
class Box:
    """A node and its place."""

    node: Node
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Route:
    """A drawing of `width` × `height` units; `lines` are SVG path data."""

    nodes: tuple[Node, ...]
    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]
    side_lines: tuple[str, ...]
    width: int
    height: int


def draw_route(report: RunReport) -> Route:
    """Lay the stages out; the steps of the recipe that are not done come last and are marked."""
    nodes = [_done(stage) for stage in report.stages] + [_remaining(step) for step in report.remaining]
    places = _places([node for node in nodes if node.is_checkpoint])
    num_lanes = 1 + max((lane for _, lane in places.values()), default=0)
    boxes = {
        node.name: Box(node, *_corner(*places[node.name]), _BOX_WIDTH, _BOX_HEIGHT)
        for node in nodes
        if node.is_checkpoint
    }
    arrows = [
        _arrow(boxes[parent], boxes[node.name])
        for node in nodes
        if node.is_checkpoint
        for parent in node.parents
        if parent in boxes
    ]
    side_boxes, side_lines = _below([node for node in nodes if not node.is_checkpoint], boxes, num_lanes)
    every = [*boxes.values(), *side_boxes]
    return Route(
        nodes=tuple(nodes),
        boxes=tuple(every),
        arrows=tuple(arrows),
        side_lines=tuple(side_lines),
        width=max(box.x + box.width for box in every) + _MARGIN,
        height=max(box.y + box.height for box in every) + _MARGIN,
    )


def _done(stage: StageReport) -> Node:
    figure = key_figure(stage)
    return Node(
        name=stage.name,
        words=kind_name(stage.kind),
        parents=stage.parents,
        is_checkpoint=stage.produces == "checkpoint",
        state="failed" if stage.results.get("same_function") is False else "done",
        figure=KeyFigure(_shortened(figure.figure), _shortened(figure.detail)),
        seconds=format_seconds(stage.record.seconds),
        fingerprint=stage.short_fingerprint,
    )


def _remaining(step: Step) -> Node:
    return Node(
        name=step.name,
        words=kind_name(step.kind),
        parents=step.inputs,
        is_checkpoint=step.settings.produces == "checkpoint",
        state="remaining",
        figure=KeyFigure("未実行 not run yet", ""),
        seconds="",
        fingerprint="",
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_LETTERS else text[: _MAX_LETTERS - 1] + "…"


def _places(checkpoints: list[Node]) -> dict[str, tuple[int, int]]:
    """Column and lane of every checkpoint: after its parents, on a lane of its own where it branches."""
    places: dict[str, tuple[int, int]] = {}
    for node in checkpoints:
        parents = [places[name] for name in node.parents if name in places]
        column = 1 + max((place[0] for place in parents), default=-1)
        lane = parents[0][1] if parents else 0
        while any(lane == other_lane and column <= other for other, other_lane in places.values()):
            lane += 1
        places[node.name] = (column, lane)
    return places


def _corner(column: int, lane: int) -> tuple[int, int]:
    return _MARGIN + column * (_BOX_WIDTH + _GAP_X), _MARGIN + lane * (_BOX_HEIGHT + _GAP_Y)


def _arrow(start: Box, end: Box) -> str:
    x0, y0 = start.x + start.width, start.y + start.height // 2
    x1, y1 = end.x, end.y + end.height // 2
    middle = (x0 + x1) // 2
    return f"M{x0} {y0} C{middle} {y0} {middle} {y1} {x1 - 2} {y1}"


def _below(nodes: list[Node], boxes: dict[str, Box], num_lanes: int) -> tuple[list[Box], list[str]]:
    """Hang what is no checkpoint under the furthest checkpoint it was made from."""
    top = _MARGIN + num_lanes * (_BOX_HEIGHT + _GAP_Y)
    placed: list[Box] = []
    lines: list[str] = []
    for node in nodes:
        parents = [boxes[name] for name in node.parents if name in boxes]
        parent = max(parents, key=lambda box: (box.x, box.y), default=None)
        x = parent.x if parent else _MARGIN
        # boxes of two lanes may share a column, so what hangs there is counted by column
        index = len([box for box in placed if box.x == x + _SIDE_INDENT])
        y = top + index * (_SIDE_HEIGHT + _GAP_Y // 2)
        placed.append(Box(node, x + _SIDE_INDENT, y, _BOX_WIDTH - _SIDE_INDENT, _SIDE_HEIGHT))
        if parent:
            lines.append(f"M{x + 10} {parent.y + parent.height} V{y + _SIDE_HEIGHT // 2} H{x + _SIDE_INDENT}")
    return placed, lines
