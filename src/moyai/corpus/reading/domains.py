"""Texts by language and domain: which file a text comes from, and which collection inside of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.documents import Split, to_document
from moyai.corpus.reading.read import named_documents
from moyai.corpus.reading.rows import TEXT_COLUMN, read_numbered_rows
from moyai.recipe.sources import corpus_file, corpus_files

_PARALLEL_COLUMNS = ("ja", "en")
_SOURCE_COLUMN = "source"


@dataclass(frozen=True, slots=True)
class DomainText:
    """One text, and where it belongs."""

    name: str
    """Of the file, without its endings; of a file of parallel sentences with the language behind a slash."""
    domain: str
    """What the row's `source` says before the first colon; empty where it says nothing."""
    text: str
    split: Split


def read_domain_texts(source: str) -> Iterator[DomainText]:
    """The texts of the files that `source` names, in order; a row with `ja` and `en` is two.

    Args:
        source: a file, a glob, a directory or starter:NAME.

    Raises:
        InputFileError: nothing is there, or a row has no text.
    """
    for file in corpus_files(source):
        path = corpus_file(file)
        name = path.name.split(".")[0]
        broken = Broken("stop")
        for row in read_numbered_rows(path, broken):
            domain = str(row.values.get(_SOURCE_COLUMN, "")).split(":")[0]
            languages = [column for column in _PARALLEL_COLUMNS if column in row.values and TEXT_COLUMN not in row.values]
            for column in languages or [TEXT_COLUMN]:
                document = to_document(row, text=row.values.get(column), name="", broken=broken)
                if document is not None:
                    full = f"{name}/{column}" if languages else name
                    yield DomainText(full, domain, document.text, document.split)


def heldout_by_domain(sources: Sequence[str], *, most_characters: int) -> dict[str, list[str]]:
    """The held-out texts of files, and again those of each domain of a file that has several.

    Args:
        sources: files, globs, directories, starter:NAME or hub:NAME.
        most_characters: of a file no more texts are taken once they have so many.

    Returns:
        "ja_text" to its texts, then "ja_text: aozora" and so on to those of the domain.

    Raises:
        InputFileError: nothing is there, or a row has no text.
    """
    files: dict[str, dict[str, list[str]]] = {}
    for source in sources:
        held: Counter[str] = Counter()
        for found in _hub_texts(source) if source.startswith("hub:") else read_domain_texts(source):
            if found.split == "heldout" and held[found.name] < most_characters:
                files.setdefault(found.name, {}).setdefault(found.domain, []).append(found.text)
                held[found.name] += len(found.text)
    texts = {}
    for name, domains in files.items():
        texts[name] = [text for group in domains.values() for text in group]
        if len(domains) > 1:
            texts |= {f"{name}: {domain or 'others'}": group for domain, group in sorted(domains.items())}
    return texts


def _hub_texts(source: str) -> Iterator[DomainText]:
    for document in named_documents(source, "heldout"):
        yield DomainText(source, "", document.text, document.split)
