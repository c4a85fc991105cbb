"""Giving a model another model's chat template, end mark and generation settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from moyai.errors import InputFileError
from moyai.tokenizer.text import TextTokenizer, read_settings

_TOKENIZER, _CONFIG, _TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
_GENERATION, _SPECIAL = "generation_config.json", "special_tokens_map.json"


@dataclass(frozen=True)
class ChatFormat:
    """How a conversation is written and where an answer ends, in the ids of the model that gets it."""

    eos_token_id: int | list[int]
    """Where generation stops."""
    files: Mapping[str, dict[str, Any]]
    """JSON files by name, which take the place of the model's own."""

    def write(self, out_dir: Path) -> None:
        """Put the files into `out_dir`, and take a template there away that would go before theirs."""
        for name, content in self.files.items():
            text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
            (out_dir / name).write_text(text, encoding="utf-8")
        (out_dir / _TEMPLATE).unlink(missing_ok=True)


def chat_format(chat_dir: Path, own_dir: Path) -> ChatFormat | str:
    """The chat format of `chat_dir` for the tokenizer of `own_dir`, or in a few words why it cannot have it.

    That tokenizer must have, as one token each, the special tokens that the template spells out, the end mark, and
    the tokens whose ids stand in the generation settings.  Ids become its own.

    Raises:
        InputFileError: a JSON file of the tokenizers cannot be read.
    """
    for directory in (chat_dir, own_dir):
        if not (directory / _TOKENIZER).is_file():
            return f"{directory} has no {_TOKENIZER}"
    chat, own = TextTokenizer(chat_dir), TextTokenizer(own_dir)
    in_config = isinstance(read_settings(chat_dir / _CONFIG).get("chat_template"), str)
    if not in_config and not (chat_dir / _TEMPLATE).is_file():
        return "the chat model has no chat template"
    eos = chat.special_texts["eos_token"]
    if not eos:
        return "the chat model's tokenizer names no eos_token"
    id_tokens: dict[str, str | list[str]] = {"eos_token_id": eos, **_id_tokens(chat_dir)}
    spelt = [token for token in _special_tokens(chat_dir) if token in chat.chat_template]
    needed = dict.fromkeys([*spelt, *(token for tokens in id_tokens.values() for token in _listed(tokens))])
    ids = {token: own.encode(token) for token in needed}
    missing = [token for token, cut in ids.items() if len(cut) != 1]
    if missing:
        return f"the base's tokenizer has no {', '.join(map(repr, missing))}"
    own_ids: dict[str, int | list[int]] = {
        key: [ids[token][0] for token in tokens] if isinstance(tokens, list) else ids[tokens][0]
        for key, tokens in id_tokens.items()
    }
    files = {
        _CONFIG: read_settings(own_dir / _CONFIG) | {"eos_token": eos, "chat_template": chat.chat_template},
        _GENERATION: read_settings(chat_dir / _GENERATION) | own_ids,
    }
    if (own_dir / _SPECIAL).is_file():
        files[_SPECIAL] = read_settings(own_dir / _SPECIAL) | {"eos_token": eos}
    return ChatFormat(own_ids["eos_token_id"], files)


def format_with(own_dir: Path, chat_template: str, *, end_mark: str) -> ChatFormat:
    """A chat template of another origin and the token that ends its answers, for the tokenizer of `own_dir`.

    Generation stops there and wherever the model stopped before.

    Raises:
        InputFileError: a JSON file of the tokenizer cannot be read, or the vocabulary has no such token.
    """
    settings = read_settings(own_dir / _CONFIG)
    stops = token_ids(own_dir, dict.fromkeys([end_mark, *TextTokenizer(own_dir).stop_tokens]))
    eos_token_id: int | list[int] = stops if len(stops) > 1 else stops[0]
    files = {
        _CONFIG: settings | {"eos_token": end_mark, "chat_template": chat_template},
        _GENERATION: read_settings(own_dir / _GENERATION) | {"eos_token_id": eos_token_id},
    }
    if (own_dir / _SPECIAL).is_file():
        files[_SPECIAL] = read_settings(own_dir / _SPECIAL) | {"eos_token": end_mark}
    return ChatFormat(eos_token_id, files)


def token_ids(checkpoint_dir: Path, tokens: Iterable[str]) -> list[int]:
    """The ids of tokens that the vocabulary of a checkpoint has.

    Raises:
        InputFileError: it lacks some; all are told.
    """
    tokenizer = _tokenizer(checkpoint_dir)
    wanted = list(tokens)
    ids = [id_ for id_ in map(tokenizer.token_to_id, wanted) if id_ is not None]
    if len(ids) < len(wanted):
        missing = ", ".join(repr(token) for token in wanted if tokenizer.token_to_id(token) is None)
        raise InputFileError(f"the tokenizer of {checkpoint_dir} has no token {missing}")
    return ids


def _id_tokens(checkpoint_dir: Path) -> dict[str, str | list[str]]:
    """The ids in the generation settings (`eos_token_id`, ...) as tokens."""
    tokenizer = _tokenizer(checkpoint_dir)

    def token(key: str, id_: Any) -> str:
        found: str | None = tokenizer.id_to_token(id_) if isinstance(id_, int) and id_ >= 0 else None
        if found is None:
            raise InputFileError(f"{checkpoint_dir / _GENERATION}: {key!r} has {id_!r}, which is no id of the tokenizer")
        return found

    return {
        key: [token(key, id_) for id_ in value] if isinstance(value, list) else token(key, value)
        for key, value in read_settings(checkpoint_dir / _GENERATION).items()
        if key.endswith("_token_id") and value is not None
    }


def _special_tokens(checkpoint_dir: Path) -> list[str]:
    return [token.content for token in _tokenizer(checkpoint_dir).get_added_tokens_decoder().values()]


def _tokenizer(checkpoint_dir: Path) -> Tokenizer:
    path = checkpoint_dir / _TOKENIZER
    if not path.is_file():
        raise InputFileError(f"{checkpoint_dir} has no {_TOKENIZER}", hint="it says which token has which id")
    return Tokenizer.from_file(str(path))


def _listed(tokens: str | list[str]) -> list[str]:
    return tokens if isinstance(tokens, list) else [tokens]
