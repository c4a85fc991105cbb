"""What `moyai show` found out about a path: facts, and tables of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Description:
    """Facts by name, and tables of rows that all have the same keys; everything fits into JSON."""

    kind: str
    facts: Mapping[str, Any]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind, **self.facts, **{name: list(rows) for name, rows in self.tables.items()}}

    def to_renderable(self) -> RenderableType:
        """As a person reads it."""
        facts = Table(box=None, show_header=False, pad_edge=False)
        facts.add_column(no_wrap=True)
        facts.add_column(overflow="fold")
        for name, value in {"kind": self.kind, **self.facts}.items():
            facts.add_row(name.replace("_", " "), Text(_text(value)))
        parts: list[RenderableType] = [facts]
        for rows in self.tables.values():
            if rows:
                parts += [Text(), _table(rows)]
        return Group(*parts)


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        number = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_text(value)) for value in row.values()))
    return table


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " x ".join(str(item) for item in value)
    return str(value)
