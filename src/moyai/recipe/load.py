"""From a YAML file, a name and overrides to a checked recipe; all problems are told at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from moyai.errors import InputFileError, RecipeError
from moyai.recipe.architecture import Architecture
from moyai.recipe.chat_vector import ChatVector
from moyai.recipe.composition import ExpertSource
from moyai.recipe.corpus_settings import ContaminationSettings, CorpusSource, DuplicateSettings, SourceAmount
from moyai.recipe.expert_prompts import ExpertPrompts
from moyai.recipe.recipe import Card, Recipe, StageSettingsError
from moyai.recipe.settings import STAGE_SETTINGS
from moyai.recipe.source_names import resolve_sources
from moyai.recipe.tokenizer_settings import TokenizerStage

_SHIPPED = resources.files("moyai") / "recipe" / "shipped"


class _RecipeLoader(yaml.SafeLoader):
    """Safe YAML in which 1e6 is a number and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a word", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def shipped_recipes() -> dict[str, str]:
    """Name and YAML text of every recipe in the package."""
    files = (item for item in _SHIPPED.iterdir() if item.name.endswith(".yaml"))
    return {item.name.removesuffix(".yaml"): item.read_text(encoding="utf-8") for item in sorted(files, key=str)}


def load_recipe(name_or_path: str, *, overrides: Iterable[str] = (), mini: bool = False) -> Recipe:
    """Load a shipped recipe by name or a recipe file by path.

    Args:
        name_or_path: a shipped recipe's name, or a YAML file.
        overrides: `PATH=VALUE` strings as `--set` takes them; `stages.NAME.KEY`, `base`, `card.KEY`.
        mini: apply the recipe's `mini:` block first.

    Raises:
        InputFileError: there is no such recipe, or it cannot be read.
        RecipeError: it does not fit the schema; the message lists every problem.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        text, where = _read_text(path), str(path)
    else:
        shipped = shipped_recipes()
        if name_or_path not in shipped:
            near = difflib.get_close_matches(name_or_path, shipped, n=1)
            hint = f"did you mean {near[0]}?" if near else f"shipped recipes: {', '.join(shipped)}"
            raise InputFileError(f"there is no recipe {name_or_path!r}", hint=hint)
        text, where = shipped[name_or_path], name_or_path
    return parse_recipe(text, where=where, overrides=overrides, mini=mini)


def parse_recipe(text: str, *, where: str, overrides: Iterable[str] = (), mini: bool = False) -> Recipe:
    """Check a recipe's YAML text; `where` names it in messages.

    Raises:
        RecipeError: the YAML or a setting is wrong.
    """
    data = parse_yaml(text, where)
    if not isinstance(data, dict):
        raise RecipeError(f"{where} is not a recipe: it must be a mapping with moyai, name, base and stages")
    miniature = data.pop("mini", None)
    if mini:
        if not isinstance(miniature, dict):
            raise RecipeError(f"{where} has no mini: block", hint="run it without --mini")
        _merge(data, miniature, where)
    for override in overrides:
        _override(data, override, where)
    return check_recipe(data, where=where)


def check_recipe(data: dict[str, Any], *, where: str) -> Recipe:
    """A recipe from its keys and values, checked; `where` names it in messages.

    Raises:
        RecipeError: a key or a setting is wrong; all are told at once.
    """
    resolve_sources(data)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise _recipe_error(error, where) from None


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors."""
    definitions: dict[str, Any] = {}

    def schema(model: type[BaseModel]) -> dict[str, Any]:
        made = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(made.pop("$defs", {}))
        return made

    # `corpus: FILE` is short for a mixture or a list of one, which pydantic's own schema cannot know.
    shorthand = {"corpus", "data"}
    stages = []
    for kind, model in STAGE_SETTINGS.items():
        if kind == "init":
            continue
        definitions[model.__name__] = schema(model)
        stages.append(
            {
                "type": "object",
                "properties": {kind: {"$ref": f"#/$defs/{model.__name__}"}},
                "required": [kind],
                "additionalProperties": False,
            }
        )
    for made in definitions.values():
        for key in shorthand & set(made.get("properties", ())):
            made["properties"][key] = {"anyOf": [{"type": "string"}, made["properties"][key]]}
    properties = {
        "moyai": {"const": 1, "description": "Version of the recipe language."},
        "name": {"type": "string", "pattern": Recipe.model_fields["name"].metadata[0].pattern},
        "description": {"type": "string"},
        "base": {"type": "string", "description": Recipe.model_fields["base"].description},
        "architecture": schema(Architecture),
        "seed": {"type": "integer", "description": Recipe.model_fields["seed"].description},
        "sources": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": Recipe.model_fields["sources"].description,
        },
        "stages": {"type": "array", "minItems": 1, "items": {"oneOf": stages}},
        "card": schema(Card),
        "mini": {"type": "object", "description": "What to override for the laptop-sized run of the same route."},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "moyai recipe",
        "type": "object",
        "properties": properties,
        "required": ["moyai", "name", "stages"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputFileError(f"recipe {path} does not exist", hint="`moyai recipes` lists the shipped ones") from None
    except IsADirectoryError:
        raise InputFileError(f"{path} is a directory, not a recipe file") from None
    except UnicodeDecodeError as error:
        raise InputFileError(f"recipe {path} is not UTF-8 (byte {error.start})") from None


def parse_yaml(text: str, where: str) -> Any:
    """The values of a YAML text; `where` names it in messages.

    Raises:
        RecipeError: it is not YAML, or has a key twice.
    """
    try:
        return yaml.load(text, Loader=_RecipeLoader)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


def _stage_settings(data: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    names = []
    for item in data.get("stages") or []:
        if isinstance(item, dict) and len(item) == 1:
            ((kind, settings),) = item.items()
            settings = {} if settings is None else settings
            item[kind] = settings
            if isinstance(settings, dict):
                names.append(settings.get("name") or kind)
                if names[-1] == name:
                    return settings
    near = difflib.get_close_matches(name, names, n=1)
    raise RecipeError(
        f"{where} has no stage {name!r}",
        hint=f"did you mean {near[0]}?" if near else f"its stages are {', '.join(names)}",
    )


def _merge(data: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    for key, value in changes.items():
        if key == "stages":
            if not isinstance(value, dict):
                raise RecipeError(f"{where}: mini.stages is a mapping from stage name to settings")
            for name, settings in value.items():
                _stage_settings(data, name, where).update(settings or {})
        else:
            data[key] = value


def _override(data: dict[str, Any], text: str, where: str) -> None:
    path, equals, value = text.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise RecipeError(f"--set {text} is not PATH=VALUE", hint="for example --set stages.pretrain.tokens=1e6")
    parsed = parse_yaml(value, f"--set {path}")
    if keys[0] == "stages":
        if len(keys) < 3:
            raise RecipeError(f"--set {path} names no setting", hint="write stages.NAME.KEY=VALUE")
        target, keys = _stage_settings(data, keys[1], where), keys[2:]
    else:
        target = data
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise RecipeError(f"--set {path}: {key} has no settings inside it")
    target[keys[-1]] = parsed


# Settings inside settings.
_NESTED = (
    ExpertSource,
    ExpertPrompts,
    ChatVector,
    CorpusSource,
    DuplicateSettings,
    ContaminationSettings,
    SourceAmount,
    TokenizerStage,
)


def _recipe_error(error: ValidationError, where: str) -> RecipeError:
    problems: list[str] = []
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, StageSettingsError):
            problems.extend(_problem({**found, "loc": (name, *found["loc"])}) for name, found in cause.problems)
        else:
            problems.append(_problem(dict(item)))
    return RecipeError(f"{where}: " + "; ".join(problems), hint="`moyai recipes --schema` prints every key")


def _problem(item: dict[str, Any]) -> str:
    parts = item["loc"][1:] if len(item["loc"]) > 1 and item["loc"][0] == "stages" else item["loc"]
    place = ".".join(map(str, parts))
    title = place or "recipe"
    if item["type"] == "extra_forbidden":
        return f"unknown key {title!r}{_nearest(item)}"
    if item["type"] == "missing":
        return f"{title!r} is missing"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"]) if not place else f"{title}: {item['ctx']['error']}"
    return f"{title!r} is {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _nearest(item: dict[str, Any]) -> str:
    wrong = str(item["loc"][-1])
    models: list[type[BaseModel]] = [Recipe, Architecture, Card, *STAGE_SETTINGS.values(), *_NESTED]
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()} | {"mini"}
    near = difflib.get_close_matches(wrong, keys, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
