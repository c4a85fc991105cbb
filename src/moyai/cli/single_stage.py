"""One stage as a verb: a recipe of one stage, run beside OUT, whose artifact becomes OUT."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moyai.cli.session import require_new

if TYPE_CHECKING:
    from moyai.recipe.recipe import Recipe
    from moyai.recipe.record import Record


def single_stage_recipe(kind: str, model: str, settings: Mapping[str, Any]) -> Recipe:
    """A checked recipe with `model` as base and one stage.

    Raises:
        RecipeError: a setting is wrong.
    """
    from moyai.recipe.load import parse_recipe

    data = {"moyai": 1, "name": kind, "base": model, "stages": [{kind: dict(settings)}]}
    return parse_recipe(json.dumps(data, ensure_ascii=False), where=f"moyai {kind}")


def run_single_stage(recipe: Recipe, out_dir: Path, cache_dir: Path) -> Record:
    """Run the recipe in a hidden directory next to `out_dir` and move the last artifact there.

    An interrupted run leaves the hidden directory, so the same command goes on from it.

    Raises:
        UserError: `out_dir` exists already.
    """
    from moyai.cli.progress import make_progress
    from moyai.cli.run import check_texts

    require_new(out_dir)
    check_texts(recipe)

    from moyai.run.runner import run_recipe

    final = out_dir.absolute()
    work_dir = final.with_name(f".{final.name}.moyai")
    done = run_recipe(recipe, out_dir=work_dir, until=None, cache_dir=cache_dir, progress=make_progress())
    artifact, record = done[-1]
    artifact.replace(final)
    shutil.rmtree(work_dir)
    return record
