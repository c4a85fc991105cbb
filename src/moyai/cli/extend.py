"""moyai extend: one vocabulary extension."""

from __future__ import annotations

from typing import Annotated

import typer

from moyai.cli.arguments import ModelName, OutDir


def extend(
    context: typer.Context,
    model: ModelName,
    out: OutDir,
    corpus: Annotated[
        list[str],
        typer.Option(
            metavar="FILE",
            help="Where the pieces are learnt: .jsonl, .jsonl.gz, .txt or starter:NAME; repeatable.",
        ),
    ],
    pieces: Annotated[int, typer.Option(metavar="N", help="How many new pieces.")],
) -> None:
    """Add vocabulary pieces to a model.

    They are learnt on top of its tokenizer and get embedding rows made of those of the pieces they replace.
    """
    from moyai.cli.session import session_of
    from moyai.cli.single_stage import run_stage

    run_stage("extend", model, {"corpus": list(corpus), "pieces": pieces}, out, session_of(context).cache_dir)
    print(out)
