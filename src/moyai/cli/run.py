"""moyai run: do what a recipe says and is not done yet."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.cli.arguments import Mini, Overrides, RecipeName

if TYPE_CHECKING:
    from moyai.progress import Progress
    from moyai.recipe.recipe import Recipe
    from moyai.recipe.stage_settings import StageSettings


def run(
    *,
    context: typer.Context,
    recipe: RecipeName,
    mini: Mini = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write.  [default: runs/NAME, or runs/NAME-mini]"),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")] = None,
    set_: Overrides = [],  # noqa: B006 - typer never changes it
) -> None:
    """Do what is missing of a recipe.

    A run that was stopped goes on where it was; one run at a time per directory.
    """
    from moyai.cli.output import print_data
    from moyai.cli.progress import make_progress
    from moyai.cli.session import session_of
    from moyai.recipe.load import load_recipe

    loaded = load_recipe(recipe, overrides=set_, mini=mini)
    check_stage(loaded, until)
    check_texts(loaded)
    progress = make_progress()
    _tell_plan(loaded, progress)
    out_dir = out or Path("runs") / (f"{loaded.name}-mini" if mini else loaded.name)

    from moyai.report import build_report, summary_table
    from moyai.run.runner import run_recipe

    run_recipe(
        loaded, out_dir=out_dir, until=until, cache_dir=session_of(context).cache_dir, progress=progress
    )
    build_report(out_dir)
    print_data(summary_table(out_dir))


def check_stage(recipe: Recipe, until: str | None) -> None:
    """Refuse a stage that the recipe does not have.

    Raises:
        RecipeError: there is no stage `until`.
    """
    from moyai.errors import RecipeError

    names = [step.name for step in recipe.steps()]
    if until is not None and until not in names:
        near = difflib.get_close_matches(until, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"its stages are {', '.join(names)}"
        raise RecipeError(f"recipe {recipe.name} has no stage {until!r}", hint=hint)


def check_texts(recipe: Recipe) -> None:
    """Refuse before the first stage what the last one would miss.

    Raises:
        InputFileError: a text that a stage reads is not there.
    """
    from moyai.corpus.contamination.evaluation_files import EvaluationFiles
    from moyai.recipe.corpus_settings import PrepareSettings
    from moyai.recipe.sources import corpus_files

    for _, settings in recipe.stages:
        for text in _texts(settings):
            corpus_files(text)
        if isinstance(settings, PrepareSettings) and settings.contamination is not None:
            EvaluationFiles.find(settings.contamination.files)


def _texts(settings: StageSettings) -> list[str]:
    """The texts that a stage reads from outside the run."""
    from moyai.recipe.composition import STAGE_PREFIX
    from moyai.recipe.corpus_settings import PrepareSettings
    from moyai.recipe.settings import EvaluateSettings, PretrainSettings, SftSettings, VerifySettings
    from moyai.recipe.tokenizer_settings import ExtendSettings, TrainTokenizerSettings

    texts: Iterable[str] = ()
    match settings:
        case ExtendSettings() | PretrainSettings():
            texts = settings.corpus
        case SftSettings():
            texts = settings.data
        case VerifySettings():
            texts = [settings.text]
        case EvaluateSettings():
            texts = settings.texts.values()
        case TrainTokenizerSettings():
            texts = [text for stage in settings.stages for text in stage.corpus]
        case PrepareSettings():
            texts = [file for source in settings.sources.values() for file in source.files]
    return [text for text in texts if not text.startswith(STAGE_PREFIX)]


def _tell_plan(recipe: Recipe, progress: Progress) -> None:
    """One line of what is ahead; an impossible recipe fails here and not after hours."""
    from moyai.plan.machine import cpu_of_this_machine
    from moyai.plan.plan import physical_memory_bytes, plan_recipe
    from moyai.plan.quantities import format_bytes, format_seconds

    if recipe.architecture is None:
        return
    made = plan_recipe(recipe, machine=cpu_of_this_machine(), memory_bytes=physical_memory_bytes())
    totals = made.totals
    progress.note(
        f"{recipe.name}: about {format_seconds(totals.seconds)} on {made.machine}, "
        f"{format_bytes(totals.disk_bytes)} on disk, {format_bytes(totals.memory_bytes)} of memory"
    )
    for warning in made.warnings:
        progress.note(f"warning: {warning}")
