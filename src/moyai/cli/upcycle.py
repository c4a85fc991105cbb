"""moyai upcycle: one mixture of experts from a dense model."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from moyai.cli.arguments import ModelName, OutDir


class Method(StrEnum):
    """How the experts are made; the recipe's own choices."""

    copy = "copy"
    noise = "noise"
    drop = "drop"
    virtual_group = "virtual-group"


class Router(StrEnum):
    """How the router's first weights are drawn."""

    normal = "normal"
    uniform = "uniform"


class IndexSets(StrEnum):
    """Which channels drop draws anew."""

    independent = "independent"
    shared = "shared"


def upcycle(
    *,
    context: typer.Context,
    model: ModelName,
    out: OutDir,
    experts: Annotated[int, typer.Option(metavar="N", help="How many experts.")],
    active: Annotated[int, typer.Option(metavar="K", help="How many of them a token uses.")],
    method: Annotated[
        Method, typer.Option(help="copy and virtual-group: the same function as the dense model.")
    ] = Method.copy,
    reinit: Annotated[
        float | None,
        typer.Option(metavar="R", help="drop: share of the channels drawn anew.  [default: 0.5]"),
    ] = None,
    index_sets: Annotated[
        IndexSets | None,
        typer.Option(help="drop: each matrix has its own set, or an expert's three share one.  [default: independent]"),
    ] = None,
    noise_scale: Annotated[
        float | None,
        typer.Option(metavar="STD", help="noise: standard deviation of what is added.  [default: 0.02]"),
    ] = None,
    noise_share: Annotated[
        float | None,
        typer.Option(metavar="R", help="noise: share of the channels that get some.  [default: 0.5]"),
    ] = None,
    granularity: Annotated[
        int | None, typer.Option(metavar="G", help="virtual-group: into how many experts a layer is cut.")
    ] = None,
    router: Annotated[Router, typer.Option(help="Distribution of the router's first weights.")] = Router.normal,
    router_std: Annotated[
        float | None, typer.Option(metavar="STD", help="Their standard deviation.  [default: 0.02]")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Of everything that is drawn.")] = 0,
) -> None:
    """Make a mixture of experts from a dense model.

    Llama and Mistral become Mixtral, Qwen2 becomes Qwen2-MoE and Qwen3 becomes Qwen3-MoE.
    """
    from moyai.cli.session import session_of
    from moyai.cli.single_stage import run_stage

    settings = {
        "experts": experts,
        "active": active,
        "method": method.value,
        "reinit": reinit,
        "index_sets": index_sets and index_sets.value,
        "noise_scale": noise_scale,
        "noise_share": noise_share,
        "granularity": granularity,
        "router": router.value,
        "router_std": router_std,
        "seed": seed,
    }
    given = {key: value for key, value in settings.items() if value is not None}
    run_stage("upcycle", model, given, out, session_of(context).cache_dir)
    print(out)
