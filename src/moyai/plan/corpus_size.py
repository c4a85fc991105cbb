"""How much text a corpus holds, counted from its rows, and how many tokens that is expected to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

from moyai.corpus.instructions.conversations import read_conversations
from moyai.corpus.instructions.preferences import read_preferences
from moyai.corpus.reading.documents import read_documents, read_rows
from moyai.corpus.reading.rows import count_rows
from moyai.errors import InputFileError
from moyai.recipe.sources import corpus_file, corpus_files

Content = Literal["train documents", "held-out documents", "conversations", "preferences", "quiz questions"]

# A larger file is judged by its first rows and scaled by its number of rows, so that a plan takes seconds.
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


# Before and after the vocabulary is extended; one of 90,000 pieces is taken to know Japanese already, and so is one that
# was trained from nothing.
BASE_RATES = TokenRates(japanese=0.6, other=4.4)
EXTENDED_RATES = TokenRates(japanese=1.1, other=4.4)
LARGE_VOCABULARY_RATES = TokenRates(japanese=1.5, other=4.0)
TRAINED_RATES = TokenRates(japanese=1.8, other=3.6)
LARGE_VOCABULARY = 90_000


def measure_corpus(
    source: str, content: Content, *, limit: int | None = None, max_characters: int | None = None
) -> CorpusSize:
    """Count the rows of `source` that are of this content.

    Args:
        source: a file, a glob or a directory of them, or `starter:NAME`.
        content: which rows count, and what of them.
        limit: count only the first so many.
        max_characters: count only the beginning of each.

    Raises:
        InputFileError: there is no such file, or a row of it cannot be read.
    """
    if source.startswith("hub:"):
        raise InputFileError(f"{source} is on the hub, and not measured")
    sizes = []
    for file in corpus_files(source):
        path = corpus_file(file)
        status = path.stat()
        sizes.append(_measure(path, content, limit, max_characters, (status.st_size, status.st_mtime_ns)))
    return CorpusSize(
        documents=sum(size.documents for size in sizes),
        japanese_characters=sum(size.japanese_characters for size in sizes),
        other_characters=sum(size.other_characters for size in sizes),
        estimated=any(size.estimated for size in sizes),
    )


def count_japanese(text: str) -> int:
    """Characters of Japanese writing, roughly.

    >>> count_japanese("舟 boat")
    1
    """
    return sum(character >= _JAPANESE_FROM for character in text)


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
        japanese += count_japanese(text[:max_characters])
        if documents == limit:
            break
    scale = count_rows(path) / rows if rows == _MAX_ROWS else 1.0
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
    if content == "preferences":
        for pair in read_preferences(path):
            yield "".join(message["content"] for message in pair.prompt) + pair.chosen + pair.rejected
        return
    if content == "quiz questions":
        for row in read_rows(path):
            wanted_row = row.get("split", "test") == "test"
            yield "".join([row["question"], *row["choices"]]) if wanted_row else None
        return
    wanted = "train" if content == "train documents" else "heldout"
    for document in read_documents(path):
        yield document.text if document.split == wanted else None
