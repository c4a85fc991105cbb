"""moyai export: one GGUF file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moyai.cli.arguments import AsJson, ModelName


class Type(StrEnum):
    """How matrices are stored; the recipe's own choices."""

    f32 = "f32"
    f16 = "f16"
    bf16 = "bf16"
    q8_0 = "q8_0"
    q4_k_m = "q4_k_m"


def export(
    *,
    context: typer.Context,
    model: ModelName,
    out: Annotated[Path, typer.Argument(metavar="OUT.gguf", help="File to write; it must not exist yet.")],
    type: Annotated[Type, typer.Option(help="How matrices are stored.")] = Type.q8_0,
    as_json: AsJson = False,
) -> None:
    """Write a model as a GGUF file.

    llama.cpp loads the file, its token ids are compared with the tokenizer's, and it answers a question.
    """
    from moyai.cli.progress import make_progress
    from moyai.cli.session import session_of
    from moyai.errors import UserError
    from moyai.recipe.sources import LocalModel, parse_model

    source = parse_model(model)
    if out.suffix != ".gguf":
        raise UserError(f"{out} does not end in .gguf", hint="llama.cpp and others go by the ending")
    if out.exists():
        raise UserError(f"{out} exists already", hint="give another name, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)

    from moyai.cli.output import print_json
    from moyai.cli.partial import scratch_sibling
    from moyai.stages import init
    from moyai.stages.export import export as write

    progress = make_progress()
    if isinstance(source, LocalModel):
        results = write(source.path, out, type=type.value, progress=progress)
    else:
        with scratch_sibling(out) as checkpoint_dir:
            init.fetch(model, checkpoint_dir, session_of(context).cache_dir, progress)
            results = write(checkpoint_dir, out, type=type.value, progress=progress)
    if as_json:
        print_json(results)
    else:
        print(out)
