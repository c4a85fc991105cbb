"""moyai merge: experts from several models, or chat vectors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from moyai.cli.arguments import OutDir

CONFIG_NAME = "mergekit_moe_config.yml"
VECTOR_NAME = "chat_vector_config.yml"


class GateBehaviour(StrEnum):
    """How gates are computed from prompts."""

    exact = "exact"
    mergekit = "mergekit"


def merge(
    *,
    context: typer.Context,
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yml", help="A mergekit-moe file as it is, or a chat-vector file.")
    ],
    out: OutDir,
    gates: Annotated[
        GateBehaviour,
        typer.Option(help="Gates from prompts: as the router sees them, or as mergekit computes them."),
    ] = GateBehaviour.exact,
    seed: Annotated[int, typer.Option(metavar="S", help="Of drawn routers and noise.")] = 0,
    shard_bytes: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest size of one safetensors file.")
    ] = 5_000_000_000,
) -> None:
    """Compose a mixture of several models, or add chat vectors to one.

    CONFIG.yml is a mergekit-moe file as it is (base_model and experts), or a chat-vector file (base_model and
    chat_vectors).
    """
    from moyai.cli.progress import make_progress
    from moyai.cli.session import require_new, session_of
    from moyai.recipe.merge_file import read_merge_file, recipe_of

    file = read_merge_file(config)
    added: dict[str, Any] = {"shard_bytes": shard_bytes}
    if file.kind == "compose":
        added |= {"gates": gates.value, "seed": seed}
    recipe = recipe_of(file, **added)
    require_new(out)

    from moyai.run.single_stage import run_single_stage

    progress = make_progress()
    for note in file.notes:
        progress.note(note)
    run_single_stage(
        recipe,
        out_dir=out,
        cache_dir=session_of(context).cache_dir,
        progress=progress,
        extra_files={CONFIG_NAME if file.kind == "compose" else VECTOR_NAME: file.text.encode()},
    )
    print(out)
