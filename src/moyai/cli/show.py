"""moyai show: what a path holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.cli.arguments import AsJson

if TYPE_CHECKING:
    from moyai.cli.description import Description


def show(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="Checkpoint or run directory, record, .gguf, .safetensors, tokenizer.json or corpus file.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """What a checkpoint, GGUF, tokenizer, corpus or record holds."""
    from moyai.cli.output import print_data, print_json

    found = describe(path)
    if as_json:
        print_json(found.to_dict())
    else:
        print_data(found.to_renderable())


def describe(path: Path) -> Description:
    """Look at `path` and say what it is.

    Raises:
        InputFileError: there is nothing, or nothing that moyai knows.
    """
    from moyai.errors import InputFileError

    if path.is_dir():
        return _describe_directory(path)
    if not path.exists():
        raise InputFileError(f"{path} does not exist")
    return _describe_file(path)


def _describe_directory(path: Path) -> Description:
    from moyai.cli import describe_run, describe_weights
    from moyai.errors import InputFileError
    from moyai.recipe.record import RECORD_NAME

    if (path / "config.json").is_file():
        return describe_weights.describe_checkpoint(path)
    if (path / RECORD_NAME).is_file():
        return describe_run.describe_record(path)
    if any(path.glob(f"[0-9][0-9]-*/{RECORD_NAME}")):
        return describe_run.describe_run(path)
    raise InputFileError(
        f"{path} is neither a checkpoint nor a stage nor a run",
        hint="a checkpoint has config.json, a finished stage has record.json, a run has finished stages",
    )


def _describe_file(path: Path) -> Description:
    from moyai.cli import describe_run, describe_text, describe_weights
    from moyai.errors import InputFileError
    from moyai.recipe.record import RECORD_NAME

    if path.suffix == ".gguf":
        return describe_weights.describe_gguf(path)
    if path.suffix == ".safetensors":
        return describe_weights.describe_safetensors(path)
    if path.name == RECORD_NAME:
        return describe_run.describe_record(path.parent)
    if path.suffix == ".json":
        return describe_text.describe_tokenizer(path)
    if path.name.endswith((".jsonl", ".jsonl.gz", ".txt")):
        return describe_text.describe_corpus(path)
    raise InputFileError(
        f"{path} is of no kind that moyai knows",
        hint="show takes .gguf, .safetensors, .jsonl, .jsonl.gz, .txt, record.json and tokenizer.json",
    )
