"""The published schema knows what the loader knows."""

from __future__ import annotations

import json
from typing import Any

from moyai.recipe.architecture import Architecture
from moyai.recipe.load import recipe_schema
from moyai.recipe.recipe import Card, Recipe
from moyai.recipe.settings import STAGE_SETTINGS

SCHEMA = json.loads(json.dumps(recipe_schema()))


def stage_schemas() -> dict[str, dict[str, Any]]:
    found = {}
    for item in SCHEMA["properties"]["stages"]["items"]["oneOf"]:
        ((kind, reference),) = item["properties"].items()
        assert item["required"] == [kind]
        assert item["additionalProperties"] is False
        found[kind] = SCHEMA["$defs"][reference["$ref"].removeprefix("#/$defs/")]
    return found


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []


def test_every_setting_of_every_stage_is_in_it_and_nothing_else() -> None:
    found = stage_schemas()
    assert set(found) == set(STAGE_SETTINGS) - {"init"}
    for kind, model in STAGE_SETTINGS.items():
        if kind == "init":
            continue
        keys = {field.alias or name for name, field in model.model_fields.items()}
        assert set(found[kind]["properties"]) == keys
        required = {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
        assert set(found[kind].get("required", [])) == required
        assert found[kind]["additionalProperties"] is False


def test_every_key_of_a_recipe_is_in_it() -> None:
    assert set(SCHEMA["properties"]) == set(Recipe.model_fields) | {"mini"}
    assert set(SCHEMA["properties"]["architecture"]["properties"]) == set(Architecture.model_fields)
    assert set(SCHEMA["properties"]["card"]["properties"]) == set(Card.model_fields)
    assert set(SCHEMA["required"]) == {name for name, field in Recipe.model_fields.items() if field.is_required()}


def test_one_file_instead_of_a_mixture_is_allowed() -> None:
    found = stage_schemas()
    for kind, key in (("extend", "corpus"), ("pretrain", "corpus"), ("sft", "data")):
        assert {"type": "string"} in found[kind]["properties"][key]["anyOf"]


def test_choices_and_descriptions_come_along() -> None:
    found = stage_schemas()
    assert found["upcycle"]["properties"]["method"]["enum"] == ["copy", "noise", "drop", "virtual-group"]
    assert found["export"]["properties"]["type"]["enum"] == ["f32", "f16", "bf16", "q8_0", "q4_k_m"]
    assert "how many new pieces" in found["extend"]["properties"]["pieces"]["description"].lower()


def test_every_reference_leads_somewhere() -> None:
    assert all(name.removeprefix("#/$defs/") in SCHEMA["$defs"] for name in references(SCHEMA))
