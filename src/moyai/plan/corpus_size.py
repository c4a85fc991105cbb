"""How much text a corpus holds, counted from its rows, and how many tokens that is expected to be."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

from moyai.corpus.documents import read_conversations, read_documents, read_rows
from moyai.recipe.sources import corpus_file

Content = Literal["train documents", "held-out documents", "conversations", "quiz questions"]

# A larger file is judged by its first rows and scaled by its number of lines, so that a plan takes seconds.
_MAX_ROWS = 20_000
# Where the kana, kanji and full-width forms of Unicode begin, for a count that is one comparison a character.
_JAPANESE_FROM = "\u3000"


@dataclass(frozen=True)
class CorpusSize:
    """Documents and characters; `estimated` where only the first rows were read."""

    documents: int
    japanese_characters: int
    other_characters: int
    estimated: bool

    @property
    def characters(self) -> int:
        """All of them."""
        return self.japanese_characters + self.other_characters


@dataclass(frozen=True)
class TokenRates:
    """Assumed characters per token."""

    japanese: float
    other: float

    def tokens(self, size: CorpusSize) -> int:
        """Expected tokens of a text of this size."""
        return round(size.japanese_characters / self.japanese + size.other_characters / self.other)


# Before and after the vocabulary is extended; one of 90,000 pieces is taken to know Japanese already.
BASE_RATES = TokenRates(japanese=0.6, other=4.4)
EXTENDED_RATES = TokenRates(japanese=1.1, other=4.4)
LARGE_VOCABULARY_RATES = TokenRates(japanese=1.5, other=4.0)
LARGE_VOCABULARY = 90_000


def measure_corpus(
    source: str, content: Content, *, limit: int | None = None, max_characters: int | None = None
) -> CorpusSize:
    """Count the rows of `source` (a file or `starter:NAME`) that are of this content.

    Args:
        source: a file, or `starter:NAME`.
        content: which rows count, and what of them.
        limit: count only the first so many.
        max_characters: count only the beginning of each.

    Raises:
        InputFileError: there is no such file, or a row of it cannot be read.
    """
    path = corpus_file(source)
    status = path.stat()
    return _measure(path, content, limit, max_characters, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=64)
def _measure(
    path: Path, content: Content, limit: int | None, max_characters: int | None, _version: tuple[int, int]
) -> CorpusSize:
    rows = documents = japanese = characters = 0
    for rows, text in enumerate(islice(_texts(path, content), _MAX_ROWS), start=1):  # noqa: B007 - used below
        if text is None:
            continue
        documents += 1
        characters += len(text[:max_characters])
        japanese += sum(character >= _JAPANESE_FROM for character in text[:max_characters])
        if documents == limit:
            break
    scale = _num_lines(path) / rows if rows == _MAX_ROWS else 1.0
    return CorpusSize(
        documents=round(documents * scale),
        japanese_characters=round(japanese * scale),
        other_characters=round((characters - japanese) * scale),
        estimated=scale > 1.0,
    )


def _texts(path: Path, content: Content) -> Iterator[str | None]:
    """One item a row: its text, or None where the row is of another split."""
    if content == "conversations":
        for conversation in read_conversations(path):
            yield "".join(message["content"] for message in conversation.messages)
        return
    if content == "quiz questions":
        for row in read_rows(path):
            wanted_row = row.get("split", "test") == "test"
            yield "".join([row["question"], *row["choices"]]) if wanted_row else None
        return
    wanted = "train" if content == "train documents" else "heldout"
    for document in read_documents(path):
        yield document.text if document.split == wanted else None


def _num_lines(path: Path) -> int:
    with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
