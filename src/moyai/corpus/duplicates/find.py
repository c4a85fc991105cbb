"""Duplicates: documents whose text is another's, and documents that nearly are.

Each input file is read once, and of each document a digest and a signature are kept in two files beside it.
`find_duplicates` works on those alone, so 100 GB of text are compared through some 16 GB of signatures, and in memory
stand about 20 bytes a document.
"""

from __future__ import annotations

import hashlib
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moyai.corpus.duplicates.banding import Bands, band_hash, choose_bands, join_alike
from moyai.corpus.duplicates.groups import Groups
from moyai.corpus.duplicates.minhash import NO_SIGNATURE, estimated_similarity
from moyai.corpus.duplicates.records import Records
from moyai.progress import Progress, SilentProgress
from moyai.recipe.corpus_settings import DuplicateSettings

DIGEST_BYTES = 16

DuplicateReason = Literal["exact duplicate", "near duplicate"]

_BLOCK_DOCUMENTS = 1 << 16
_COMPARED_AT_A_TIME = 1 << 14


def text_digest(text: str) -> bytes:
    r"""16 bytes that are the same for texts that differ in white space only, and for no others.

    Nothing else is made equal: letters of another width or case are another text (and near duplicates).

    >>> text_digest("舟を 岸に\n寄せる。") == text_digest("舟を岸に寄せる。　")
    True
    """
    # half a surrogate pair is refused where text is read
    return hashlib.blake2b("".join(text.split()).encode(), digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True)
class SignedFile:
    """What is kept of the documents of an input file, in their order, one record after the other without a header."""

    digests: Path
    """16 bytes a document, as `text_digest` gives them."""
    signatures: Path
    """4 · permutations bytes a document: little-endian uint32, as `signature` gives them; read only for near ones."""


@dataclass(frozen=True)
class Duplicates:
    """Which documents of which file are duplicates.  Files and rows count from 0 in corpus order."""

    starts: tuple[int, ...]
    """The number of the first document of each file, and the number of all documents."""
    first: NDArray[np.uint32]
    """[documents] the first document of each document's group; a document stays where this is its own number."""
    exact: NDArray[np.bool_]
    """[documents] whether an earlier document has the same text, white space aside."""

    @property
    def counts(self) -> dict[DuplicateReason, int]:
        """How many documents are dropped for each reason."""
        dropped = int(np.count_nonzero(self.first != np.arange(len(self.first), dtype=np.uint32)))
        exact = int(np.count_nonzero(self.exact))
        return {"exact duplicate": exact, "near duplicate": dropped - exact}

    def dropped(self, file: int) -> NDArray[np.bool_]:
        """Which documents of a file are dropped, bool [documents of the file]."""
        start, stop = self.starts[file], self.starts[file + 1]
        return np.not_equal(self.first[start:stop], np.arange(start, stop, dtype=np.uint32))

    def reason(self, file: int, row: int) -> DuplicateReason | None:
        """Why a document is dropped; None: it stays."""
        number = self.starts[file] + row
        if self.first[number] == number:
            return None
        return "exact duplicate" if self.exact[number] else "near duplicate"

    def original(self, file: int, row: int) -> tuple[int, int]:
        """File and row of the document that stays in this one's place."""
        number = int(self.first[self.starts[file] + row])
        found = bisect_right(self.starts, number) - 1
        return found, number - self.starts[found]


def find_duplicates(
    files: Sequence[SignedFile], settings: DuplicateSettings, scratch: Path, progress: Progress | None = None
) -> Duplicates:
    """The duplicates among all documents of `files`; of each group the first document in corpus order stays.

    Near duplicates are joined in chains: where the second is like the first and the third like the second, all three
    are one group.  The result depends on the signatures and their order alone.

    Args:
        files: in corpus order.
        settings: which documents count as the same.
        scratch: a directory in which `8 · bands` bytes a document are written for a while.
        progress: where to tell how far it is.

    Raises:
        InputFileError: a file is missing, cut short, or does not belong to its digests.
    """
    digests = Records([file.digests for file in files], DIGEST_BYTES // 4)
    groups = Groups.alone(len(digests))
    bands = choose_bands(settings.near, settings.permutations) if settings.near is not None else None
    steps = settings.exact + (1 + bands.bands if bands else 0)
    with (progress or SilentProgress()).bar("duplicates", total=steps, unit="passes") as bar:
        if settings.exact:
            _join_exact(digests, groups)
            bar.advance(1)
        exact = groups.all_first() != np.arange(len(groups), dtype=np.uint32)
        if bands is not None and settings.near is not None:
            signatures = Records([file.signatures for file in files], settings.permutations)
            signatures.check_rows_of(digests)
            with tempfile.TemporaryDirectory(dir=scratch, prefix="bands-") as name:
                wanted = _write_bands(signatures, bands, Path(name)) & ~exact
                bar.advance(1)
                for band in range(bands.bands):
                    hashes = np.fromfile(_band_file(Path(name), band), np.uint64)
                    join_alike(hashes, wanted, _Alike(signatures, settings.near), groups)
                    bar.advance(1)
    return Duplicates(digests.starts, groups.all_first(), exact)


def _join_exact(digests: Records, groups: Groups) -> None:
    hashes = np.empty(len(digests), np.uint64)
    for start, block in digests.blocks(_BLOCK_DOCUMENTS):
        hashes[start : start + len(block)] = block.view(np.uint64)[:, 0]
    join_alike(hashes, np.ones(len(hashes), np.bool_), _Alike(digests, 1.0), groups)


def _write_bands(signatures: Records, bands: Bands, scratch: Path) -> NDArray[np.bool_]:
    """One file a band with the hashes of all documents; returns which documents have a signature at all."""
    signed = np.empty(len(signatures), np.bool_)
    with ExitStack() as stack:
        files: list[Any] = [stack.enter_context(_band_file(scratch, band).open("wb")) for band in range(bands.bands)]
        for start, block in signatures.blocks(_BLOCK_DOCUMENTS):
            signed[start : start + len(block)] = (block != NO_SIGNATURE).any(axis=1)
            for band, file in enumerate(files):
                band_hash(block, band, bands.rows).tofile(file)
    return signed


def _band_file(scratch: Path, band: int) -> Path:
    return scratch / f"{band:03}"


@dataclass(frozen=True)
class _Alike:
    """Whether pairs of records agree in at least this share of their places."""

    records: Records
    share: float

    def __call__(self, one: NDArray[np.uint32], other: NDArray[np.uint32]) -> NDArray[np.bool_]:
        alike = np.empty(len(one), np.bool_)
        for start in range(0, len(one), _COMPARED_AT_A_TIME):
            part = slice(start, start + _COMPARED_AT_A_TIME)
            first, second = self.records.of(one[part]), self.records.of(other[part])
            alike[part] = estimated_similarity(first, second) >= self.share
        return alike
