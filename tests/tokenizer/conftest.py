"""Tiny tokenizers of each family, and the same ones with Japanese pieces on top."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moyai.corpus.reading.documents import read_documents
from moyai.recipe.sources import corpus_file
from moyai.tokenizer.extension.extend import Extension, learn_extension, write_extended
from moyai.tokenizer.vocabulary import read_vocabulary
from tiny import write_tiny_sentencepiece, write_tiny_tokenizer

NUM_PIECES = 300

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MARKS = ["<|begin_of_text|>", "<|eot_id|>"]

BYTE_LEVEL = ("smollm2", "llama3", "qwen")
SENTENCEPIECE = ("mistral", "mistral-model", "mistral-json", "mistral-chatml", "llm-jp", "llm-jp-model")
FAMILIES = (*BYTE_LEVEL, *SENTENCEPIECE)
"""Shapes of released tokenizers: of `-model` and `-json` only one file is there, `-chatml` has marks behind its pieces."""


def split_by(pattern: str) -> dict[str, Any]:
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }


def added(content: str, id_: int, *, special: bool = True) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id_, "content": content, **flags, "special": special}


def write_family(directory: Path, family: str) -> Path:
    """A tiny tokenizer in the shape of a released one."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "tokenizer.json"
    if family in BYTE_LEVEL:
        write_tiny_tokenizer(directory)
    else:
        write_tiny_sentencepiece(directory, "bpe" if family.startswith("mistral") else "unigram", vocab_size=420)
    data = json.loads(path.read_text(encoding="utf-8"))
    if family in ("llama3", "qwen"):
        # their marks stand behind the vocabulary and not in it
        for token in data["added_tokens"]:
            del data["model"]["vocab"][token["content"]]
        renumbered = sorted(data["model"]["vocab"], key=lambda token: int(data["model"]["vocab"][token]))
        data["model"]["vocab"] = {token: number for number, token in enumerate(renumbered)}
        data["added_tokens"] = [added(mark, len(renumbered) + number) for number, mark in enumerate(MARKS)]
        data["pre_tokenizer"] = split_by(LLAMA_3 if family == "llama3" else LLAMA_3.replace("{1,3}", ""))
        data["model"]["ignore_merges"] = family == "llama3"
        data["normalizer"] = {"type": "NFC"} if family == "qwen" else None
        settings_path = directory / "tokenizer_config.json"
        settings = json.loads(settings_path.read_text(encoding="utf-8"))
        settings |= {"bos_token": MARKS[0], "eos_token": MARKS[1], "unk_token": None, "pad_token": None}
        settings_path.write_text(json.dumps(settings), encoding="utf-8")
    if family == "mistral-chatml":
        size = len(data["model"]["vocab"])
        data["added_tokens"] += [added("<|im_start|>", size), added("<|note|>", size + 1, special=False)]
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    if family.endswith("-model"):
        path.unlink()
    if family.endswith("-json"):
        (directory / "tokenizer.model").unlink()
    return directory


@pytest.fixture(scope="session")
def japanese() -> list[str]:
    """The starter pack's Japanese training documents."""
    documents = read_documents(corpus_file("starter:ja_text"))
    return [document.text for document in documents if document.split == "train"][:60]


@pytest.fixture(scope="session")
def extended_family(
    tmp_path_factory: pytest.TempPathFactory, japanese: list[str]
) -> Callable[[str], tuple[Path, Path, Extension]]:
    """A family's base directory, the extended one, and what was learnt; each made once."""
    made: dict[str, tuple[Path, Path, Extension]] = {}

    def get(family: str) -> tuple[Path, Path, Extension]:
        if family not in made:
            base_dir = write_family(tmp_path_factory.mktemp("tokenizer") / family, family)
            base = read_vocabulary(base_dir)
            extension = learn_extension(base, japanese, num_pieces=NUM_PIECES)
            out_dir = base_dir.parent / "extended"
            out_dir.mkdir()
            for path in base_dir.iterdir():
                (out_dir / path.name).write_bytes(path.read_bytes())
            write_extended(base, extension, out_dir)
            made[family] = base_dir, out_dir, extension
        return made[family]

    return get


@pytest.fixture(scope="session")
def base_dir(extended_family: Callable[[str], tuple[Path, Path, Extension]]) -> Path:
    return extended_family("smollm2")[0]


@pytest.fixture(scope="session")
def extended_dir(extended_family: Callable[[str], tuple[Path, Path, Extension]]) -> Path:
    return extended_family("smollm2")[1]
