"""How much text a token holds: characters and bytes per token of any tokenizer on any text."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from moyai.errors import InputFileError
from moyai.tokenizer.text_batches import text_batches

_CountTokens = Callable[[Sequence[str]], list[int]]

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Efficiency:
    """What a text came to: characters (code points), bytes of UTF-8, and tokens without marks around it."""

    num_characters: int = 0
    num_bytes: int = 0
    num_tokens: int = 0

    def __add__(self, other: Efficiency) -> Efficiency:
        return Efficiency(
            self.num_characters + other.num_characters,
            self.num_bytes + other.num_bytes,
            self.num_tokens + other.num_tokens,
        )

    @property
    def characters_per_token(self) -> float | None:
        """None where there is no token."""
        return self.num_characters / self.num_tokens if self.num_tokens else None

    @property
    def bytes_per_token(self) -> float | None:
        """None where there is no token."""
        return self.num_bytes / self.num_tokens if self.num_tokens else None


def measure(tokenizer: Path, texts: Iterable[str]) -> Efficiency:
    """Count what `texts` come to, each encoded by itself; they are gone through once, and never all held.

    Args:
        tokenizer: a directory with `tokenizer.json` or a SentencePiece model, or one of these files.
        texts: text without half surrogate pairs.

    Raises:
        InputFileError: there is no tokenizer, or it cannot be read.
    """
    return measure_groups(tokenizer, (("", text) for text in texts)).get("", Efficiency())


def measure_groups(tokenizer: Path, texts: Iterable[tuple[_Key, str]]) -> dict[_Key, Efficiency]:
    """The same for texts of several groups at once: (group, text) in any order.

    Raises:
        InputFileError: as `measure`.
    """
    count_tokens = _tokenizer(tokenizer)
    found: dict[_Key, Efficiency] = {}
    for batch in text_batches(texts, itemgetter(1)):
        for (group, text), num_tokens in zip(batch, count_tokens([text for _, text in batch]), strict=True):
            so_far = found.get(group, Efficiency())
            found[group] = so_far + Efficiency(len(text), len(text.encode("utf-8")), num_tokens)
    return found


def compare(
    before: Path | None, after: Path, texts: Mapping[str, Sequence[str]], others: Sequence[Path] = ()
) -> dict[str, Any]:
    """What each text comes to with two tokenizers, as a record holds it under "efficiency".

    Args:
        before: the tokenizer that there was, a directory or file as for `measure`; None where there was none.
        after: the one that there is now.
        texts: by a name for people, such as "ja_text" or "ja_text: aozora"; empty ones are left out.
        others: tokenizers to compare with.

    Returns:
        `{"texts": {name: {"characters": n, "bytes": n, "tokens": {"before": n, "after": n, OTHER: n}}}}`, without
        "before" where there was no tokenizer before; another one is called what `tokenizer_name` says

    Raises:
        InputFileError: as `measure`.
    """
    compared = {}
    for name, group in texts.items():
        counted = measure(after, group)
        if not counted.num_characters:
            continue
        tokens = {"before": measure(before, group).num_tokens} if before is not None else {}
        compared[name] = {
            "characters": counted.num_characters,
            "bytes": counted.num_bytes,
            "tokens": tokens
            | {"after": counted.num_tokens}
            | {tokenizer_name(other): measure(other, group).num_tokens for other in others},
        }
    return {"texts": compared}


def tokenizer_name(path: Path) -> str:
    """What a tokenizer is called: its directory, or its file where the name says more than what it is.

    >>> tokenizer_name(Path("llm-jp-v3.1/tokenizer.json")), tokenizer_name(Path("mistral.model"))
    ('llm-jp-v3.1', 'mistral')
    """
    said_nothing = path.stem in ("tokenizer", "spiece") and bool(path.parent.name)
    return path.parent.name if said_nothing else path.name.removesuffix(".model").removesuffix(".json")


def tokenizer_file(path: Path) -> Path:
    """The file that decides how a tokenizer cuts text: `tokenizer.json`, else a directory's one SentencePiece model.

    Raises:
        InputFileError: `path` is neither such a file nor a directory with one.
    """
    if path.is_dir():
        found = [path / name for name in ("tokenizer.json", "tokenizer.model") if (path / name).is_file()]
        found = found or sorted(path.glob("*.model"))
        if not found or (len(found) > 1 and found[0].suffix == ".model"):
            what = f"{len(found)} SentencePiece models" if found else "no tokenizer"
            raise InputFileError(f"{path} has {what}", hint="give a tokenizer.json or a .model file")
        return found[0]
    if not path.exists():
        raise InputFileError(f"{path} does not exist", hint="`moyai fetch MODEL DIR` makes a directory of any model")
    if path.suffix not in (".json", ".model") or not path.is_file():
        raise InputFileError(
            f"{path} is not a tokenizer", hint="give a directory with a tokenizer, a tokenizer.json or a .model file"
        )
    return path


def _tokenizer(path: Path) -> _CountTokens:
    file = tokenizer_file(path)
    return _hugging_face(file) if file.suffix == ".json" else _sentencepiece(file)


def _hugging_face(file: Path) -> _CountTokens:
    from moyai.tokenizer.load import tokenizer_of

    try:
        content = file.read_text(encoding="utf-8")
        is_tokenizer = "type" in json.loads(content)["model"]
    except (ValueError, KeyError, TypeError):
        is_tokenizer = False
    if not is_tokenizer:
        raise InputFileError(f"{file} is not a tokenizer.json", hint="is it a tokenizer's main file?")
    tokenizer = tokenizer_of(content)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return count


def _sentencepiece(file: Path) -> _CountTokens:
    from sentencepiece import SentencePieceProcessor

    from moyai.tokenizer.sentencepiece.file import read_sentencepiece

    read_sentencepiece(file)  # whatever is wrong with the file is told in a sentence of ours
    processor = SentencePieceProcessor(model_file=str(file))
    num_threads = len(os.sched_getaffinity(0))

    def count(texts: Sequence[str]) -> list[int]:
        return list(map(len, processor.encode(list(texts), num_threads=num_threads)))

    return count
