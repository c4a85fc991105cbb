"""moyai plan: what a recipe will make and cost."""

from __future__ import annotations

from moyai.cli.arguments import AsJson, Mini, Overrides, RecipeName


def plan(recipe: RecipeName, mini: Mini = False, set_: Overrides = [], as_json: AsJson = False) -> None:  # noqa: B006 - typer never changes it
    """What a recipe will make and cost.

    Parameters, FLOPs, bytes, memory and time of every stage; nothing is fetched or written.
    """
    from moyai.cli.output import print_data, print_json
    from moyai.plan.machine import cpu_of_this_machine
    from moyai.plan.plan import physical_memory_bytes, plan_recipe
    from moyai.plan.table import plan_table
    from moyai.recipe.load import load_recipe

    loaded = load_recipe(recipe, overrides=set_, mini=mini)
    made = plan_recipe(loaded, machine=cpu_of_this_machine(), memory_bytes=physical_memory_bytes())
    if as_json:
        print_json(made.to_dict())
    else:
        print_data(plan_table(made))
