"""Hashes of what a stage reads from outside the run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from moyai.recipe.record import file_sha256
from moyai.recipe.sources import corpus_file, corpus_files, parse_hub_corpus
from moyai.tokenizer.efficiency import tokenizer_file


def file_hashes(names: Iterable[str]) -> dict[str, str]:
    """What identifies each corpus file: its sha256, for a data set on the hub REPO@COMMIT.

    Args:
        names: files, `starter:` or `hub:` names; a glob or a directory stands for each of its files.

    Raises:
        InputFileError: nothing is there.
        SourceError: the hub has no such data set, or does not answer.
    """
    return {file: _content(file) for name in names for file in corpus_files(name)}


def tokenizer_hashes(names: Iterable[str]) -> dict[str, str]:
    """sha256 of each tokenizer that something is compared with.

    Raises:
        InputFileError: there is none.
    """
    return {name: file_sha256(tokenizer_file(Path(name).expanduser())) for name in names}


def _content(file: str) -> str:
    if not file.startswith("hub:"):
        return file_sha256(corpus_file(file))
    from moyai.corpus.reading.hub import hub_commit

    source = parse_hub_corpus(file)
    return f"{source.repo}@{hub_commit(source)}"
