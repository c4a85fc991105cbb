"""moyai extend: one vocabulary extension."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from moyai.cli.arguments import ModelName, OutDir


class Init(StrEnum):
    """How the rows of new pieces are made; the recipe's own choices."""

    mean = "mean"
    first = "first"
    focus = "focus"
    calibrated = "calibrated"
    best = "best"


class Segmentation(StrEnum):
    """What cuts the text before pieces are learnt."""

    none = "none"
    words = "words"


def extend(
    *,
    context: typer.Context,
    model: ModelName,
    out: OutDir,
    corpus: Annotated[
        list[str],
        typer.Option(
            metavar="FILE",
            help="Where the pieces are learnt: .jsonl, .parquet or .txt, also .gz or .zst, a glob, a directory,"
            " starter:NAME or hub:OWNER/NAME:SPLIT; repeatable.",
        ),
    ],
    pieces: Annotated[int, typer.Option(metavar="N", help="How many new pieces.")],
    init: Annotated[
        Init,
        typer.Option(help="How rows of new pieces are made of old ones.  best: whichever predicts held-out text best."),
    ] = Init.mean,
    segmentation: Annotated[
        Segmentation, typer.Option(help="words: no piece straddles two Japanese words.")
    ] = Segmentation.none,
    min_frequency: Annotated[int, typer.Option(metavar="N", help="A pair seen less often is not merged.")] = 2,
    max_characters: Annotated[int, typer.Option(metavar="N", help="Length of the longest new piece.")] = 16,
    pad_vocab_to: Annotated[int, typer.Option(metavar="N", help="The tables have a multiple of so many rows.")] = 8,
) -> None:
    """Add vocabulary pieces to a model.

    They are learnt on top of its tokenizer and get rows in embedding and head, made of those of the pieces they replace.
    """
    from moyai.cli.session import session_of
    from moyai.cli.single_stage import run_stage

    settings = {
        "corpus": list(corpus),
        "pieces": pieces,
        "init": init.value,
        "segmentation": segmentation.value,
        "min_frequency": min_frequency,
        "max_characters": max_characters,
        "pad_vocab_to": pad_vocab_to,
    }
    run_stage("extend", model, settings, out, session_of(context).cache_dir)
    print(out)
