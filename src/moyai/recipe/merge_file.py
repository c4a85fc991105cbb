"""A merge file: a mergekit-moe configuration as it is, or chat vectors of our own; read and told apart.

Source: the keys of `mergekit/moe/config.py` of mergekit 0.1.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moyai.errors import InputFileError
from moyai.recipe.load import check_recipe, parse_yaml
from moyai.recipe.recipe import Recipe

_MOE_KEYS = "experts"
_VECTOR_KEYS = "chat_vectors"
_MODEL_KEYS = {"source_model", "chat", "base"}
# What a stage of a recipe has besides; the command line gives some of it.
_NOT_IN_A_FILE = {"name", "from", "seed", "gates", "shard_bytes"}


@dataclass(frozen=True)
class MergeFile:
    """A merge file as read: the base, and the settings of the one stage that it amounts to."""

    path: Path
    text: str
    base: str
    kind: str
    """`compose` or `chat_vector`."""
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    """Where models were found, if not where one would look first."""


def read_merge_file(path: Path) -> MergeFile:
    """Read a merge file; the settings are checked when a recipe is made of them.

    A model that is a path counts from the current directory, and from the file's own where it is not there.

    Raises:
        InputFileError: there is no such file, it is of another kind, or it has a key that only a recipe or the
            command line has.
        RecipeError: it is not YAML, or has a key twice.
    """
    text = _text(path)
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise InputFileError(f"{path} is not a mapping of keys", hint="a mergekit-moe file has base_model and experts")
    _refuse_other_kinds(path, data)
    if wrong := sorted(_NOT_IN_A_FILE & data.keys()):
        raise InputFileError(
            f"{path} has the keys {', '.join(map(repr, wrong))}, which are none of a merge file",
            hint="`moyai merge --help` shows what the command line takes",
        )
    kind = "compose" if _MOE_KEYS in data else "chat_vector"
    base = data.pop("base_model", None)
    if not isinstance(base, str):
        raise InputFileError(f"{path}: 'base_model' is {'missing' if base is None else f'{base!r}, not a model'}")
    # mergekit reads a key without a value as one that is not there
    settings = {key: _resolved(value, key, path) for key, value in data.items() if value is not None}
    if isinstance(settings.get("dtype"), str):  # mergekit takes torch's own names too
        settings["dtype"] = settings["dtype"].removeprefix("torch.")
    return MergeFile(path, text, _model(base, path), kind, settings, _found_beside(data | {"base_model": base}, path))


def recipe_of(file: MergeFile, **settings: Any) -> Recipe:
    """The recipe of one stage that a merge file amounts to.

    Args:
        file: the merge file.
        settings: what the command line adds to it.

    Raises:
        RecipeError: keys or values are wrong; all are told at once.
    """
    stage = {file.kind: {**file.settings, **settings}}
    return check_recipe({"moyai": 1, "name": "merge", "base": file.base, "stages": [stage]}, where=str(file.path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputFileError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise InputFileError(f"{path} is a directory, not a merge file") from None
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is not UTF-8 (byte {error.start})") from None


def _refuse_other_kinds(path: Path, data: Mapping[str, Any]) -> None:
    method = data.get("merge_method")
    if method is not None or "slices" in data or "models" in data:
        what = f"the merge method {method!r}" if method is not None else "a merge of whole models or slices"
        hint = "mergekit-yaml does that; moyai composes experts (`experts:`) and adds chat vectors (`chat_vectors:`)"
        if method == "task_arithmetic":
            hint = "write it as chat_vectors with chat, base and ratio, or use mergekit-yaml"
        raise InputFileError(f"{path} asks for {what}, which moyai does not do", hint=hint)
    if (_MOE_KEYS in data) == (_VECTOR_KEYS in data):
        seen = "both" if _MOE_KEYS in data else "neither"
        raise InputFileError(f"{path} has {seen} of 'experts' and 'chat_vectors'; a merge file has one of them")
    if str(data.get("architecture", "")).lower().startswith("deepseek"):
        raise InputFileError(
            f"{path} asks for architecture {data['architecture']!r}, whose models come with code of their own to be run",
            hint="leave `architecture` out: Llama and Mistral experts become Mixtral",
        )


def _resolved(value: Any, key: str, path: Path) -> Any:
    """`value` with the models in it resolved."""
    if isinstance(value, list):
        return [_resolved(item, key, path) for item in value]
    if isinstance(value, dict):
        return {name: _resolved(item, name, path) for name, item in value.items() if item is not None}
    if isinstance(value, str) and key in _MODEL_KEYS:
        return _model(value, path)
    if isinstance(value, str) and key == "tokenizer_source" and value.startswith("model:"):
        return f"model:{_model(value.removeprefix('model:'), path)}"
    return value


def _found_beside(value: Any, path: Path, key: str = "") -> tuple[str, ...]:
    """A note for each model that is not where the program was started, but beside the file."""
    if isinstance(value, dict):
        parts = [_found_beside(item, path, name) for name, item in value.items()]
    elif isinstance(value, list):
        parts = [_found_beside(item, path, key) for item in value]
    else:
        model = str(value).removeprefix("model:") if key in {*_MODEL_KEYS, "base_model", "tokenizer_source"} else ""
        beside = model and not Path(model).expanduser().exists() and (path.parent / model).exists()
        return (f"{model} is {path.parent / model}, beside the merge file",) if beside else ()
    return tuple(dict.fromkeys(note for part in parts for note in part))


def _model(text: str, path: Path) -> str:
    if not text:
        raise InputFileError(f"{path} has a model without a name")
    if "+" in text and not text.startswith("pypi:") and not Path(text).exists():
        raise InputFileError(
            f"{path} names {text!r}, a model with an adapter, which moyai does not apply",
            hint="merge the adapter into its model first",
        )
    for directory in (Path(), path.parent):
        candidate = directory / Path(text).expanduser()
        if candidate.exists():
            return str(candidate.absolute())
    return text
