"""A tiny English tokenizer, and the same one with Japanese pieces on top."""

from __future__ import annotations

from pathlib import Path

import pytest

from moyai.corpus.documents import read_documents
from moyai.recipe.sources import corpus_file
from moyai.tokenizer.bpe_file import BpeFile
from moyai.tokenizer.extend import Extension, learn_extension
from tiny import write_tiny_tokenizer

NUM_PIECES = 300


@pytest.fixture(scope="session")
def japanese() -> list[str]:
    """The starter pack's Japanese training documents."""
    documents = read_documents(corpus_file("starter:ja_text"))
    return [document.text for document in documents if document.split == "train"][:60]


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizer") / "base"
    directory.mkdir()
    write_tiny_tokenizer(directory)
    return directory


@pytest.fixture(scope="session")
def extension(base_dir: Path, japanese: list[str]) -> Extension:
    return learn_extension(BpeFile.read(base_dir), japanese, num_pieces=NUM_PIECES, min_frequency=2)


@pytest.fixture(scope="session")
def extended_dir(base_dir: Path, extension: Extension) -> Path:
    directory = base_dir.parent / "extended"
    directory.mkdir()
    for path in base_dir.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    BpeFile.read(base_dir).extended(extension.merges).write(directory)
    return directory
