"""Names that a recipe gives to files under `sources:`, put back into the stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Where a stage's settings name files.
_KEYS = ("corpus", "data", "text", "files")


def resolve_sources(data: dict[str, Any]) -> None:
    """Put the files of `sources:` in the place of their names, in every stage of a recipe that is not checked yet.

    >>> data = {"sources": {"ja": "a.jsonl"}, "stages": [{"pretrain": {"corpus": {"ja": 1}}}, {"sft": {"data": ["ja"]}}]}
    >>> resolve_sources(data)
    >>> data["stages"]
    [{'pretrain': {'corpus': {'a.jsonl': 1}}}, {'sft': {'data': ['a.jsonl']}}]
    """
    if not isinstance(data.get("sources"), dict):
        return
    sources = {name: file for name, file in data["sources"].items() if isinstance(file, str)}
    for item in data.get("stages") or []:
        for settings in item.values() if isinstance(item, dict) else ():
            if isinstance(settings, dict):
                _resolve(settings, sources)
                parts = settings.get("stages")
                for part in parts if isinstance(parts, list) else []:  # of train_tokenizer, each with a corpus
                    _resolve(part, sources)
                for key in ("sources", "texts"):  # of prepare and evaluate: names of their own for files
                    if isinstance(settings.get(key), dict):
                        settings[key] = {name: _inner(value, sources) for name, value in settings[key].items()}


def _resolve(settings: Any, sources: Mapping[str, str]) -> None:
    if isinstance(settings, dict):
        for key in _KEYS:
            if key in settings:
                settings[key] = _resolved(settings[key], sources)


def _inner(value: Any, sources: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        _resolve(value, sources)
        return value
    return _resolved(value, sources)


def _resolved(value: Any, sources: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return sources.get(value, value)
    if isinstance(value, list):
        return [sources.get(name, name) if isinstance(name, str) else name for name in value]
    return {sources.get(key, key): share for key, share in value.items()} if isinstance(value, dict) else value
