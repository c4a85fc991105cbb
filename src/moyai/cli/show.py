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
            help="Checkpoint or run directory, record, .gguf, .safetensors, tokenizer.json, .model or corpus file.",
        ),
    ],
    text: Annotated[
        list[str],
        typer.Option(metavar="FILE", help="How much of this text a token of the tokenizer at PATH holds; repeatable."),
    ] = [],  # noqa: B006 - typer never changes it
    against: Annotated[
        list[Path],
        typer.Option(metavar="TOKENIZER", help="Another tokenizer to measure on the same text; repeatable."),
    ] = [],  # noqa: B006 - typer never changes it
    as_json: AsJson = False,
) -> None:
    """What a checkpoint, GGUF, tokenizer, corpus or record holds.

    With --text: characters and bytes per token, by text and domain.
    """
    from moyai.cli.output import print_data, print_json
    from moyai.errors import UserError

    if against and not text:
        raise UserError("--against compares tokenizers on a text, but none is given", hint="add --text FILE")
    if text:
        from moyai.cli.describe_efficiency import describe_efficiency

        found = describe_efficiency([path, *against], text)
    else:
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
    from moyai.cli import describe_run, describe_text, describe_weights
    from moyai.errors import InputFileError
    from moyai.recipe.record import RECORD_NAME
    from moyai.tokenizer.efficiency import tokenizer_file

    if (path / "config.json").is_file():
        return describe_weights.describe_checkpoint(path)
    if (path / "manifest.json").is_file():
        from moyai.cli.describe_packed import describe_packed

        return describe_packed(path)
    if (path / RECORD_NAME).is_file():
        return describe_run.describe_record(path)
    if any(path.glob(f"[0-9][0-9]-*/{RECORD_NAME}")):
        return describe_run.describe_run(path)
    if any(path.glob("*.model")) or (path / "tokenizer.json").is_file():
        return describe_text.describe_tokenizer(tokenizer_file(path))
    raise InputFileError(
        f"{path} is neither a checkpoint nor a stage nor a run nor a tokenizer",
        hint="a checkpoint has config.json, a finished stage has record.json, a run has finished stages",
    )


def _describe_file(path: Path) -> Description:
    from moyai.cli import describe_run, describe_text, describe_weights
    from moyai.errors import InputFileError
    from moyai.recipe.record import RECORD_NAME
    from moyai.recipe.sources import CORPUS_SUFFIXES

    if path.suffix == ".gguf":
        return describe_weights.describe_gguf(path)
    if path.suffix == ".safetensors":
        return describe_weights.describe_safetensors(path)
    if path.name == RECORD_NAME:
        return describe_run.describe_record(path.parent)
    if path.suffix in (".json", ".model"):
        return describe_text.describe_tokenizer(path)
    if path.name.endswith(CORPUS_SUFFIXES):
        return describe_text.describe_corpus(path)
    raise InputFileError(
        f"{path} is of no kind that moyai knows",
        hint="show takes .gguf, .safetensors, record.json, tokenizer.json, .model, and .jsonl, .parquet or .txt files",
    )
