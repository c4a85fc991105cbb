"""A packed corpus: token shards of every source, and a manifest that says what they are."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, Self

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from moyai.checkpoint.disk import replace_file
from moyai.checkpoint.input_file import open_input
from moyai.corpus.packing.indexed_file import INDEX_SUFFIX, TOKENS_SUFFIX, IndexedFile
from moyai.corpus.packing.open_files import allow_open_files
from moyai.errors import InputFileError
from moyai.recipe.record import file_sha256
from moyai.tokenizer.text import TextTokenizer

MANIFEST_NAME = "manifest.json"

_DECIDES_IDS = ("normalizer", "pre_tokenizer", "model", "added_tokens")
_SHARD_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[0-9]{5,}$"


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PackedBy(_Described):
    """The tokenizer and the marks that a corpus was packed with."""

    sha256: str
    """Of all in its `tokenizer.json` that decides ids."""
    num_ids: PositiveInt
    """The largest id that it can give, and one."""
    document_start: NonNegativeInt
    document_end: NonNegativeInt

    @classmethod
    def of(cls, tokenizer: TextTokenizer) -> Self:
        """What is remembered of `tokenizer`.

        Raises:
            InputFileError: it has no mark between documents, or its file cannot be read.
        """
        sha256, num_ids = _deciding(tokenizer.checkpoint_dir / "tokenizer.json")
        marks = {"document_start": tokenizer.document_start, "document_end": tokenizer.document_end}
        return cls(sha256=sha256, num_ids=num_ids, **marks)


class Shard(_Described):
    """One pair of `.bin` and `.idx` files."""

    name: str = Field(pattern=_SHARD_NAME)
    """Its path without suffix, from the corpus's directory."""
    documents: NonNegativeInt
    tokens: NonNegativeInt
    bin_bytes: NonNegativeInt
    bin_sha256: str
    idx_sha256: str


class SourceCounts(_Described):
    """What became of a source's documents: `read` is `documents` and all that is in `dropped` together."""

    read: NonNegativeInt
    documents: NonNegativeInt
    tokens: NonNegativeInt
    """Marks around documents counted."""
    characters: NonNegativeInt
    bytes: NonNegativeInt
    """Of the packed text in UTF-8."""
    dropped: dict[str, NonNegativeInt]
    """Reason -> documents."""
    shards: tuple[Shard, ...]


class Manifest(_Described):
    """`manifest.json`."""

    format: Literal["moyai packed corpus 1"] = "moyai packed corpus 1"
    tokenizer: PackedBy
    sources: dict[str, SourceCounts]

    def write(self, directory: Path) -> None:
        """Write it beside the shards; it is there whole, or as it was."""
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1)
        replace_file(directory / MANIFEST_NAME, text.encode("utf-8"))

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The manifest of a packed corpus.

        Raises:
            InputFileError: there is none, or it is not what its name says.
        """
        path = directory / MANIFEST_NAME
        with open_input(path) as file:
            content = file.read()
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputFileError(f"{path} is not the manifest of a packed corpus: {place} {first['msg'].lower()}") from None


def _deciding(path: Path) -> tuple[str, int]:
    """sha256 of all in a `tokenizer.json` that decides ids (how it decodes and pads does not), and how many ids it has."""
    with open_input(path) as file:
        content = file.read()
    try:
        data = json.loads(content)
        deciding = {key: data[key] for key in _DECIDES_IDS}
        vocabulary = data["model"]["vocab"]  # Unigram has a list of pairs, the others a mapping from piece to id
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        num_ids = 1 + max([*ids, *(token["id"] for token in data["added_tokens"])])
    except (ValueError, TypeError, KeyError):
        raise InputFileError(f"{path} is not a tokenizer.json") from None
    text = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest(), num_ids


class PackedSource(Sequence[NDArray[Any]]):
    """The documents of one source, mapped from its shards: arrays of token ids, marks included."""

    def __init__(self, name: str, shards: Sequence[IndexedFile], num_ids: int) -> None:
        self.name = name
        self.num_tokens = sum(shard.num_tokens for shard in shards)
        self._shards = shards
        self._num_ids = num_ids
        self._ends = list(accumulate(len(shard) for shard in shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, document: Any) -> Any:
        """A document's ids: a view into the file.

        Raises:
            InputFileError: an id is not of the vocabulary.
        """
        if isinstance(document, slice):
            return [self[number] for number in range(*document.indices(len(self)))]
        return self.part(document, 0, None)

    def length(self, document: int) -> int:
        """How many ids a document has; the index says it, and none of them is read."""
        shard, number = self._place(document)
        return len(shard[number])

    def part(self, document: int, start: int, stop: int | None) -> NDArray[Any]:
        """A document's ids from `start` up to `stop`: a view into the file, of which nothing else is read.

        Raises:
            InputFileError: one of them is not of the vocabulary.
        """
        shard, number = self._place(document)
        ids = shard[number][start:stop]
        if len(ids) and (int(ids.max()) >= self._num_ids or int(ids.min()) < 0):
            raise InputFileError(
                f"{shard.prefix}{TOKENS_SUFFIX} is damaged: document {number} has an id that its tokenizer, with"
                f" {self._num_ids}, does not have"
            )
        return ids

    def _place(self, document: int) -> tuple[IndexedFile, int]:
        """The shard that holds a document, and its number there."""
        if not -len(self) <= document < len(self):
            raise IndexError(document)
        number = int(document) % len(self)
        shard = bisect_right(self._ends, number)
        return self._shards[shard], number - (self._ends[shard - 1] if shard else 0)


class PackedCorpus:
    """A directory of token shards and their manifest."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the manifest and check that the shards have the sizes that it says.

        Raises:
            InputFileError: it is no packed corpus, or not whole.
        """
        corpus = cls(directory, Manifest.read(directory))
        for name in corpus.manifest.sources:
            corpus.check_counts(name)
        return corpus

    @cached_property
    def sources(self) -> Mapping[str, PackedSource]:
        """Every source by its name, mapped.

        Raises:
            InputFileError: a shard is damaged.
            FailedError: there are more shards than the process may have open.
        """
        shards = sum(len(counts.shards) for counts in self.manifest.sources.values())
        allow_open_files(2 * shards, f"{self.directory}, with {shards} shards,")
        return {name: self._source(name) for name in self.manifest.sources}

    def require_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Check that the corpus was packed with `tokenizer`, marks between documents included.

        Raises:
            InputFileError: it was not.
        """
        ours, theirs = self.manifest.tokenizer, PackedBy.of(tokenizer)
        if ours == theirs:
            return
        what = "other marks between documents than" if ours.sha256 == theirs.sha256 else "another tokenizer than"
        raise InputFileError(
            f"{self.directory} was packed with {what} that of {tokenizer.checkpoint_dir}",
            hint="pack it again after the stage that changes the vocabulary",
        )

    def verify(self) -> None:
        """Read every shard and compare its hashes with the manifest's.

        Raises:
            InputFileError: a shard is not the one that was packed.
        """
        for counts in self.manifest.sources.values():
            for shard in counts.shards:
                for suffix, expected in ((TOKENS_SUFFIX, shard.bin_sha256), (INDEX_SUFFIX, shard.idx_sha256)):
                    path = self.directory / f"{shard.name}{suffix}"
                    found = file_sha256(path)
                    if found != expected:
                        raise InputFileError(f"{path} is not what was packed: its sha256 is {found}, not {expected}")

    def check_counts(self, name: str) -> None:
        """Check a source's counts against each other and against the sizes of its files.

        Raises:
            InputFileError: they do not fit.
        """
        counts = self.manifest.sources[name]
        sums = {
            "documents": sum(shard.documents for shard in counts.shards),
            "tokens": sum(shard.tokens for shard in counts.shards),
            "read": counts.documents + sum(counts.dropped.values()),
        }
        for key, value in sums.items():
            if getattr(counts, key) != value:
                raise InputFileError(
                    f"{self.directory / MANIFEST_NAME} is damaged: sources.{name}.{key} is {getattr(counts, key)}, and its"
                    f" parts come to {value}"
                )
        for shard in counts.shards:
            path = self.directory / f"{shard.name}{TOKENS_SUFFIX}"
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bin_bytes:
                found = "does not exist" if size is None else f"has {size} bytes, not {shard.bin_bytes}"
                raise InputFileError(f"{path} {found}", hint="copy the whole directory again")

    def _source(self, name: str) -> PackedSource:
        files = []
        for shard in self.manifest.sources[name].shards:
            file = IndexedFile.open(self.directory / shard.name)
            if (len(file), file.num_tokens) != (shard.documents, shard.tokens):
                raise InputFileError(
                    f"{file.prefix}{INDEX_SUFFIX} has {len(file)} documents of {file.num_tokens} tokens, and by the manifest"
                    f" {shard.documents} of {shard.tokens}"
                )
            files.append(file)
        return PackedSource(name, files, self.manifest.tokenizer.num_ids)
