"""moyai upcycle: one mixture of experts from a dense model."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from moyai.cli.arguments import ModelName, OutDir


class Method(StrEnum):
    """How the experts are made; the recipe's own choices."""

    copy = "copy"
    drop = "drop"


def upcycle(
    *,
    context: typer.Context,
    model: ModelName,
    out: OutDir,
    experts: Annotated[int, typer.Option(metavar="N", help="How many experts.")],
    active: Annotated[int, typer.Option(metavar="K", help="How many of them a token uses.")],
    method: Annotated[Method, typer.Option(help="copy: the same function as the dense model.")] = Method.copy,
    reinit: Annotated[
        float | None,
        typer.Option(metavar="R", help="drop: share of the channels drawn anew.  [default: 0.5]"),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Of everything that is drawn.")] = 0,
) -> None:
    """Make a mixture of experts from a dense model."""
    from moyai.cli.session import session_of
    from moyai.cli.single_stage import run_single_stage, single_stage_recipe

    settings: dict[str, object] = {"experts": experts, "active": active, "method": method.value, "seed": seed}
    if reinit is not None:
        settings["reinit"] = reinit
    recipe = single_stage_recipe("upcycle", model, settings)
    run_single_stage(recipe, out, session_of(context).cache_dir)
    print(out)
