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
from moyai.tokenizer.byte_offsets import byte_offsets
from moyai.tokenizer.encoded_bytes import encoded_bytes
from moyai.tokenizer.load import load_tokenizer
from moyai.tokenizer.token_bytes import SPACE, text_bytes
from moyai.tokenizer.vocabulary import BaseVocabulary, read_vocabulary


@dataclass(frozen=True)
class TextTokenizer:
    """The tokenizer of a checkpoint directory; text in, ids out, no mark added on the way."""

    checkpoint_dir: Path

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        path = self.checkpoint_dir / "tokenizer.json"
        return load_tokenizer(path) if path.is_file() else self._vocabulary.tokenizer

    @cached_property
    def _vocabulary(self) -> BaseVocabulary:
        return read_vocabulary(self.checkpoint_dir)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return read_settings(self.checkpoint_dir / "tokenizer_config.json")

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` alone.

        Raises:
            InputFileError: it holds half a surrogate pair.
        """
        text_bytes(text)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, on all cores.

        Raises:
            InputFileError: one holds half a surrogate pair.
        """
        for text in texts:
            text_bytes(text)
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_with_bytes(self, text: str) -> tuple[list[int], list[bytes]]:
        """Ids of `text`, and the bytes of it that each one stands for, which add up to those of the text.

        Where the tokenizer composes characters before it cuts (NFC), they are the bytes of the composed text; where
        SentencePiece finds its own sign for a space (▁) in a text, that of a space.

        Raises:
            InputFileError: as `encode`, or the tokens spell another text.
        """
        ids = self.encode(text)
        spelled = [self.token_bytes(id_) for id_ in ids]
        found = encoded_bytes(spelled, text_bytes(text))
        if found is None:
            found = encoded_bytes(spelled, self._prepared(text).encode("utf-8"))
        if found is None:
            raise InputFileError(f"the tokens of {self.checkpoint_dir} do not add up to the text that was cut into them")
        return ids, found

    def _prepared(self, text: str) -> str:
        """What the tokenizer makes of a text before it cuts it, without the space that is put in front."""
        normalizer = self._tokenizer.normalizer
        if self._vocabulary.spelling == "byte-level":
            return str(normalizer.normalize_str(text)) if normalizer else text
        return text.replace(SPACE, " ")

    def token_bytes(self, id_: int) -> bytes:
        """The bytes a token spells.

        Raises:
            InputFileError: the vocabulary has no such id.
        """
        vocabulary = self._vocabulary
        if not 0 <= id_ < vocabulary.num_ids or vocabulary.tokens[id_] is None:
            raise InputFileError(f"the tokenizer of {self.checkpoint_dir} has no id {id_}")
        return vocabulary.bytes_of(id_)

    @cached_property
    def num_ids(self) -> int:
        """One more than the largest id that the tokenizer can give, added tokens counted."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def document_start(self) -> int:
        """The id in front of a document: the bos token where the tokenizer adds one, else <|endoftext|>, else eos."""
        wanted = [self._settings.get("bos_token")] if self.adds_bos else []
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
        return encoding.ids, byte_offsets(encoding.tokens, encoding.offsets, text)

    @cached_property
    def adds_bos(self) -> bool:
        """Whether it puts a bos token before a text of itself, unless it is told not to, as it is here."""
        bos = self.special_texts["bos_token"]
        return bool(self._settings.get("add_bos_token")) or self._tokenizer.encode("").tokens[:1] == [bos]

    @cached_property
    def stop_tokens(self) -> tuple[str, ...]:
        """Tokens at which generation stops: the eos token, and those of `generation_config.json`."""
        named = read_settings(self.checkpoint_dir / "generation_config.json").get("eos_token_id")
        ids = named if isinstance(named, list) else [named]
        texts = [self._tokenizer.id_to_token(id_) for id_ in ids if isinstance(id_, int) and id_ >= 0]
        return tuple(dict.fromkeys(filter(None, [*texts, self.special_texts["eos_token"]])))

    @cached_property
    def puts_space_in_front(self) -> bool:
        """Whether a text is cut as if it began with a space, as SentencePiece's tokenizers mostly do."""
        return self.token_bytes(self.encode("a")[0])[:1] == b" "

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Tokens that are marks and no text, such as the bos and eos token."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return tuple(token.content for token in added if token.special)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of `special_tokens`."""
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(id_ for id_, token in added.items() if token.special)

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
        if isinstance(template, list):  # several by name, of which transformers takes this one
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
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


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of settings beside a tokenizer; empty where there is none.

    Raises:
        InputFileError: it is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputFileError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputFileError(f"{path} is not a JSON object")
    return content
