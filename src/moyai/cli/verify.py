"""moyai verify: is the mixture the same function as its parent?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moyai.cli.arguments import AsJson


def verify(
    dense: Annotated[Path, typer.Argument(metavar="DENSE", help="Checkpoint directory.")],
    moe: Annotated[Path, typer.Argument(metavar="MOE", help="Checkpoint directory to compare with it.")],
    text: Annotated[
        str, typer.Option(metavar="FILE", help="Real text on which both are run: a file or starter:NAME.")
    ] = "starter:ja_text",
    tokens: Annotated[int, typer.Option(metavar="N", min=1, help="How much of it.")] = 2048,
    as_json: AsJson = False,
) -> None:
    """Tell whether two checkpoints are the same function.

    Both are run on real text and their logits compared; the exit code is 0 if they agree and 1 if not.
    """
    from moyai.cli.description import Description
    from moyai.cli.output import print_data, print_json
    from moyai.cli.progress import make_progress
    from moyai.recipe.architecture import read_architecture
    from moyai.recipe.settings import VerifySettings
    from moyai.recipe.sources import corpus_file

    read_architecture(dense)
    read_architecture(moe)
    corpus_file(text)

    from moyai.stages.verify import certify

    tolerance = VerifySettings.model_fields["tolerance"].default
    certificate = certify(
        dense, moe, text=text, num_tokens=tokens, tolerance=tolerance, progress=make_progress()
    )
    if as_json:
        print_json(certificate)
    else:
        print_data(Description("certificate", certificate).to_renderable())
    if not certificate["same_function"]:
        raise typer.Exit(1)
