"""moyai recipes: the shipped recipes and their language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

recipes = typer.Typer(
    help="List the shipped recipes; copy one to change it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@recipes.callback(invoke_without_command=True)
def _list(
    context: typer.Context,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a recipe, for editors.")
    ] = False,
) -> None:
    from moyai.cli.output import print_data, print_json
    from moyai.recipe.load import parse_recipe, recipe_schema, shipped_recipes

    if context.invoked_subcommand is not None:
        return
    if schema:
        print_json(recipe_schema())
        return
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, text in shipped_recipes().items():
        table.add_row(name, parse_recipe(text, where=name).description)
    print_data(table)


@recipes.command("copy")
def _copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped recipe's name.")],
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to put it.  [default: here]", show_default=False)
    ] = Path(),
) -> None:
    """Copy a shipped recipe to a file of your own."""
    from moyai.cli.session import require_new
    from moyai.errors import InputFileError
    from moyai.recipe.load import shipped_recipes

    shipped = shipped_recipes()
    if name not in shipped:
        raise InputFileError(f"there is no recipe {name!r}", hint=f"shipped recipes: {', '.join(shipped)}")
    if directory.exists() and not directory.is_dir():
        raise InputFileError(f"{directory} is not a directory", hint="give the directory to copy into")
    target = directory / f"{name}.yaml"
    require_new(target)
    directory.mkdir(parents=True, exist_ok=True)
    target.write_text(shipped[name], encoding="utf-8")
    print(target)
