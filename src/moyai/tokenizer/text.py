"""Encoding text with a checkpoint's tokenizer, and the marks around documents and answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from moyai.errors import InputFileError
from moyai.tokenizer.token_bytes import spelled_bytes


@dataclass(frozen=True)
class TextTokenizer:
    """The tokenizer of a checkpoint directory; text in, ids out, no mark added on the way."""

    checkpoint_dir: Path

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        path = self.checkpoint_dir / "tokenizer.json"
        if not path.is_file():
            raise InputFileError(f"{self.checkpoint_dir} has no tokenizer.json")
        return Tokenizer.from_file(str(path))

    @cached_property
    def _settings(self) -> dict[str, Any]:
        path = self.checkpoint_dir / "tokenizer_config.json"
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return settings

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` alone."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, on all cores."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def token_bytes(self, id_: int) -> bytes:
        """The bytes a token spells.

        Raises:
            InputFileError: the vocabulary has no such id.
        """
        token = self._tokenizer.id_to_token(id_)
        if token is None:
            raise InputFileError(f"the tokenizer of {self.checkpoint_dir} has no id {id_}")
        return spelled_bytes(token)

    @property
    def num_ids(self) -> int:
        """Ids the tokenizer can give, added tokens counted."""
        size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        return size

    @cached_property
    def document_start(self) -> int:
        """The id in front of a document: the bos token where the tokenizer adds one, else <|endoftext|>, else eos."""
        wanted = [self._settings.get("bos_token")] if self._settings.get("add_bos_token") else []
        return self._first_known([*wanted, "<|endoftext|>", self._settings.get("eos_token")])

    @cached_property
    def document_end(self) -> int:
        """The id behind a document: <|endoftext|> where the vocabulary has one, else eos."""
        return self._first_known(["<|endoftext|>", self._settings.get("eos_token")])

    def _first_known(self, tokens: Sequence[Any]) -> int:
        for token in tokens:
            text = token.get("content") if isinstance(token, dict) else token
            id_ = self._tokenizer.token_to_id(text) if text else None
            if id_ is not None:
                return int(id_)
        raise InputFileError(
            f"the tokenizer of {self.checkpoint_dir} has no mark between documents",
            hint="its tokenizer_config.json names no bos or eos token that the vocabulary has",
        )

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of `text` and the characters [start, stop) that each one covers."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    @cached_property
    def chat_template(self) -> str:
        """The chat template's source.

        Raises:
            InputFileError: the checkpoint has none.
        """
        path = self.checkpoint_dir / "chat_template.jinja"
        if path.is_file():
            return path.read_text(encoding="utf-8")
        template = self._settings.get("chat_template")
        if not isinstance(template, str):
            raise InputFileError(f"{self.checkpoint_dir} has no chat template")
        return template

    @property
    def special_texts(self) -> dict[str, str]:
        """bos_token and eos_token as chat templates want them."""
        texts = {}
        for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
            token = self._settings.get(key)
            texts[key] = (token.get("content") if isinstance(token, dict) else token) or ""
        return texts
