"""A corpus of more shards than the process may have open files at first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from corpus.small_corpus import TEXTS, write_corpus

_SCRIPT = """
import resource, sys
from pathlib import Path
from moyai.corpus.packing.packed import PackedCorpus
from moyai.errors import FailedError

soft, hard, directory = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    print(sum(len(document) > 2 for source in PackedCorpus.open(directory).sources.values() for document in source))
except FailedError as error:
    print(error)
"""


def said(directory: Path, soft: int, hard: int) -> str:
    arguments = [sys.executable, "-c", _SCRIPT, str(soft), str(hard), str(directory)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    directory = write_corpus(root, shard_bytes=1).directory
    assert len(list(directory.glob("*/*.bin"))) == sum(map(len, TEXTS.values())) == 50
    return directory


def test_the_soft_limit_is_raised(corpus: Path) -> None:
    assert said(corpus, 64, 1000) == "50"


def test_a_hard_limit_that_is_too_low_is_told(corpus: Path) -> None:
    assert said(corpus, 64, 64).startswith(f"{corpus}, with 50 shards, needs ")
    assert said(corpus, 64, 64).endswith(" open files, and a process may have 64 here")
