"""One stage as a verb: a recipe of one stage, whose artifact becomes OUT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moyai.cli.session import require_new

if TYPE_CHECKING:
    from moyai.recipe.record import Record


def run_stage(kind: str, model: str, settings: Mapping[str, Any], out_dir: Path, cache_dir: Path) -> Record:
    """Run the stage `kind` on `model` and move its artifact to `out_dir`; an interrupted one is gone on with.

    Raises:
        RecipeError: a setting is wrong.
        UserError: `out_dir` exists already.
    """
    from moyai.cli.progress import make_progress
    from moyai.cli.run import check_texts
    from moyai.recipe.load import parse_recipe

    data = {"moyai": 1, "name": kind, "base": model, "stages": [{kind: dict(settings)}]}
    recipe = parse_recipe(json.dumps(data, ensure_ascii=False), where=f"moyai {kind}")
    require_new(out_dir)
    check_texts(recipe)

    from moyai.run.single_stage import run_single_stage

    return run_single_stage(recipe, out_dir=out_dir, cache_dir=cache_dir, progress=make_progress())
