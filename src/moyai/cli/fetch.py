"""moyai fetch: a plain checkpoint directory from any source."""

from __future__ import annotations

import typer

from moyai.cli.arguments import ModelName, OutDir


def fetch(context: typer.Context, model: ModelName, out: OutDir) -> None:
    """Make a plain checkpoint directory from any MODEL."""
    from moyai.cli.progress import make_progress
    from moyai.cli.session import require_new, session_of
    from moyai.recipe.sources import parse_model

    parse_model(model)
    require_new(out)

    from moyai.cli.partial import partial_sibling
    from moyai.stages import init

    with partial_sibling(out) as partial:
        init.fetch(model, partial, session_of(context).cache_dir, make_progress())
    print(out)
