"""The vocabulary of a checkpoint directory: its family, its tokens by id, and the files that hold it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from moyai.errors import InputFileError
from moyai.tokenizer.load import tokenizer_of
from moyai.tokenizer.sentencepiece.file import PieceType, SentencePieceModel, parse_sentencepiece
from moyai.tokenizer.sentencepiece.json_form import PREFIXES, SPACES, added_token, json_of_model, split_merges
from moyai.tokenizer.token_bytes import Spelling, byte_piece_value, spelled_bytes

Family = Literal["byte-level BPE", "SentencePiece BPE", "Unigram"]

JSON_NAME, MODEL_NAME = "tokenizer.json", "tokenizer.model"
_FETCH_AGAIN = "the two are not of one tokenizer: fetch them again"


@dataclass(frozen=True)
class BaseVocabulary:
    """A vocabulary as its files say it; `tokenizer.json` is derived from `tokenizer.model` where there is none."""

    family: Family
    data: dict[str, Any]
    """The content of `tokenizer.json`."""
    model: SentencePieceModel | None = None
    """`tokenizer.model`, where there is one or one can be derived."""
    model_bytes: bytes = b""
    """Its bytes as they are on the disk; none where the file is not there."""

    @property
    def spelling(self) -> Spelling:
        """How its tokens spell bytes."""
        return "byte-level" if self.family == "byte-level BPE" else "sentencepiece"

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id, added tokens with those of the model."""
        own = self.data["model"]["vocab"]
        ids = dict(own) if isinstance(own, dict) else {token: number for number, (token, _) in enumerate(own)}
        return ids | self.added_ids

    @cached_property
    def added_ids(self) -> dict[str, int]:
        """The tokens that stand outside of the model: marks and the like, never a part of a text."""
        return {token["content"]: token["id"] for token in self.data.get("added_tokens", [])}

    def is_special(self, added: str) -> bool:
        """Whether an added token is a mark, and not only a text that is always one token."""
        return any(token["content"] == added and token.get("special") for token in self.data["added_tokens"])

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """The merges of a BPE vocabulary in order of rank."""
        return merges_of(self.data)

    @cached_property
    def joins_any_split(self) -> bool:
        """Whether two neighbours are joined wherever their texts add up to a piece, as SentencePiece does it.

        Byte-level BPE joins those pairs only that it was trained to join.
        """
        if self.family != "SentencePiece BPE":
            return False
        parts = {token for token in self.ids if token not in self.added_ids and byte_piece_value(token) is None}
        listed = set(self.merges)
        return all(tuple(merge) in listed for merge in split_merges(sorted(parts), parts))

    def plain_prefix(self) -> bool | None:
        """Whether a space is put before a text; None where more is done to it than that and spaces becoming ▁."""
        normalizer, before = self.data.get("normalizer") or {}, self.data.get("pre_tokenizer")
        steps = normalizer.get("normalizers", [normalizer])
        if before or steps[-1] not in SPACES or len(steps) > 2 or any(step not in PREFIXES for step in steps[:-1]):
            return None
        return len(steps) == 2

    @cached_property
    def num_ids(self) -> int:
        """One more than the largest id, added tokens counted."""
        return max(self.ids.values()) + 1

    @cached_property
    def tokens(self) -> list[str | None]:
        """The token of each id; None where an id has none."""
        tokens: list[str | None] = [None] * self.num_ids
        for token, id_ in self.ids.items():
            tokens[id_] = token
        return tokens

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What cuts text as the files say."""
        return tokenizer_of(json.dumps(self.data, ensure_ascii=False))

    def bytes_of(self, id_: int) -> bytes:
        """What a token spells; an added token spells its own text."""
        token = self.tokens[id_]
        if token is None:
            return b""
        return token.encode("utf-8") if token in self.added_ids else spelled_bytes(token, self.spelling)


def read_vocabulary(checkpoint_dir: Path) -> BaseVocabulary:
    """The vocabulary of a checkpoint directory.

    Raises:
        InputFileError: it has neither `tokenizer.json` nor `tokenizer.model`, they are damaged or disagree, or the
            tokenizer is of none of the families.
    """
    path, model_path = checkpoint_dir / JSON_NAME, checkpoint_dir / MODEL_NAME
    settings = json_object(checkpoint_dir / "tokenizer_config.json")
    if not path.is_file():
        if not model_path.is_file():
            raise InputFileError(f"{checkpoint_dir} has no tokenizer.json")
        content = model_path.read_bytes()
        model = parse_sentencepiece(content, model_path)
        added = {token["content"]: token["id"] for token in added_tokens(checkpoint_dir, settings)}
        data = json_of_model(model, added, bos=_bos(settings), where=str(model_path))
        vocabulary = BaseVocabulary(_family(data, str(model_path)), data, model, content)
        _refuse_gaps(vocabulary, checkpoint_dir)
        return vocabulary
    data = _with_added(json_object(path), added_tokens(checkpoint_dir, settings))
    family = _family(data, str(path))
    _refuse_gaps(BaseVocabulary(family, data), checkpoint_dir)
    if family == "byte-level BPE" or not model_path.is_file():
        return BaseVocabulary(family, data)  # beside a byte-level tokenizer a tokenizer.model is of another format
    content = model_path.read_bytes()
    model = parse_sentencepiece(content, model_path)
    vocabulary = BaseVocabulary(family, data, model, content)
    _refuse_disagreement(vocabulary, model, checkpoint_dir)
    return vocabulary


def merges_of(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges of a parsed `tokenizer.json` in order of rank, in either of the two ways to write them.

    >>> merges_of({"model": {"merges": ["a b", ["c", "d"]]}})
    [('a', 'b'), ('c', 'd')]
    """
    halves = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in data["model"]["merges"])
    return [(left, right) for left, right in halves]


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file.

    Raises:
        InputFileError: the file is not JSON, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputFileError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputFileError(f"{path} is not a JSON object")
    return content


def _family(data: Mapping[str, Any], where: str) -> Family:
    model = data.get("model") or {}
    kind, falls_back = model.get("type"), bool(model.get("byte_fallback"))
    if kind == "BPE" and not falls_back and "ByteLevel" in json.dumps(data.get("decoder")):
        return "byte-level BPE"
    if kind == "BPE" and falls_back:
        return "SentencePiece BPE"
    if kind == "Unigram" and falls_back:
        return "Unigram"
    raise InputFileError(
        f"{where} has a model of type {kind!r} with byte_fallback {falls_back}; byte-level BPE is known, and"
        " SentencePiece's BPE and Unigram with byte fallback"
    )


def added_tokens(checkpoint_dir: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tokens that a checkpoint of transformers 4 adds to its tokenizer; one that `added_tokens.json` alone has is a mark."""
    described = settings.get("added_tokens_decoder") or {}
    tokens = [added_token(token["content"], int(id_)) | token for id_, token in described.items()]
    named = {token["content"] for token in tokens}
    ids = json_object(checkpoint_dir / "added_tokens.json")
    return tokens + [added_token(content, id_) for content, id_ in ids.items() if content not in named]


def _with_added(data: dict[str, Any], tokens: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The content of a `tokenizer.json` with those of the tokens that are not in it, as transformers adds them."""
    there = data.get("added_tokens") or []
    named = {token["content"] for token in there}
    lacking = sorted((token for token in tokens if token["content"] not in named), key=lambda token: int(token["id"]))
    return {**data, "added_tokens": [*there, *lacking]} if lacking else data


def _bos(settings: Mapping[str, Any]) -> str | None:
    """The token before a text; as in transformers one is added where the settings of a SentencePiece model do not say."""
    token = settings.get("bos_token", "<s>")
    text = token.get("content") if isinstance(token, dict) else token
    return text if settings.get("add_bos_token", True) else None


def _refuse_gaps(vocabulary: BaseVocabulary, checkpoint_dir: Path) -> None:
    """`tokenizers` numbers added tokens that the model does not have on from its size, whatever the file says."""
    own = vocabulary.data["model"]["vocab"]
    known = set(own) if isinstance(own, dict) else {token for token, _ in own}
    behind = sorted((id_, token) for token, id_ in vocabulary.added_ids.items() if token not in known)
    for expected, (id_, token) in enumerate(behind, start=len(own)):
        if id_ != expected:
            raise InputFileError(
                f"{checkpoint_dir} says that added token {token!r} has id {id_}, but it is loaded as {expected}"
            )


def _refuse_disagreement(vocabulary: BaseVocabulary, model: SentencePieceModel, checkpoint_dir: Path) -> None:
    if len(model.pieces) > vocabulary.num_ids:
        raise InputFileError(
            f"{checkpoint_dir} has {len(model.pieces)} pieces in {MODEL_NAME}, but {vocabulary.num_ids} ids in {JSON_NAME}",
            hint=_FETCH_AGAIN,
        )
    for number, piece in enumerate(model.pieces):
        if piece.type not in (PieceType.NORMAL, PieceType.BYTE):
            continue  # a release may give its marks other names in the two files
        there = vocabulary.tokens[number]
        if there != piece.text:
            raise InputFileError(
                f"{checkpoint_dir} has {piece.text!r} as piece {number} of {MODEL_NAME}, but {there!r} in {JSON_NAME}",
                hint=_FETCH_AGAIN,
            )
