"""Finding what may be alike without comparing everything: documents that share a whole band of their signatures.

A signature of P numbers is cut into `bands` bands of `rows` numbers.  Two texts of Jaccard similarity J agree in all of
a band with probability J^rows, so they meet in at least one band with probability 1 − (1 − J^rows)^bands: an S-curve,
near 0 below and near 1 above the similarity that is looked for.

Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moyai.corpus.duplicates.groups import Groups

_FOUND_AT_THRESHOLD = 0.95
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Keys of so many documents are looked through at a time.
_BLOCK_KEYS = 1 << 20
# So many first documents are tried in a bucket.  One that holds this many texts that are unlike each other shares a
# stock phrase, and comparing all of it with all of it would take for ever.
_MAX_LEADERS = 64


class Bands(NamedTuple):
    """How a signature is cut."""

    bands: int
    rows: int

    def meeting_probability(self, similarity: float) -> float:
        """How probable it is that two texts of this Jaccard similarity share a band.

        >>> [round(Bands(18, 7).meeting_probability(similarity), 3) for similarity in (0.5, 0.7, 0.8, 0.9)]
        [0.132, 0.787, 0.986, 1.0]
        """
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def choose_bands(near: float, permutations: int) -> Bands:
    """The most rows, hence the fewest needless comparisons, with which two texts of similarity `near` meet in 95 %.

    >>> choose_bands(0.8, 128)
    Bands(bands=18, rows=7)
    """
    cuts = [Bands(permutations // rows, rows) for rows in range(permutations, 0, -1)]
    return next((cut for cut in cuts if cut.meeting_probability(near) >= _FOUND_AT_THRESHOLD), cuts[-1])


def band_hash(signatures: NDArray[np.uint32], band: int, rows: int) -> NDArray[np.uint64]:
    """A hash of one band of each signature.

    Args:
        signatures: uint32 [documents, permutations].
        band: which one, from 0.
        rows: numbers in a band.

    Returns:
        uint64 [documents]; its upper bits are as good as its lower ones.
    """
    hashes = np.zeros(len(signatures), np.uint64)
    for place in range(band * rows, (band + 1) * rows):
        hashes += signatures[:, place]
        hashes *= _MULTIPLIER
        hashes ^= hashes >> np.uint64(32)
    return hashes * _MULTIPLIER


def join_alike(
    hashes: NDArray[np.uint64],
    wanted: NDArray[np.bool_],
    alike: Callable[[NDArray[np.uint32], NDArray[np.uint32]], NDArray[np.bool_]],
    groups: Groups,
) -> None:
    """Join the groups of documents that have the same hash and are alike.

    Each document of a bucket is compared with the bucket's first; those that are unlike it form a bucket of their own.

    Args:
        hashes: one for each document; overwritten.
        wanted: which documents take part.
        alike: given two lists of documents, which pairs are alike.
        groups: what is known already; pairs in one group are not compared.
    """
    index_bits = np.uint64(max(1, len(hashes) - 1).bit_length())
    # hash and document share one number, so that sorting needs no second array
    hashes >>= index_bits
    hashes <<= index_bits
    hashes |= np.arange(len(hashes), dtype=np.uint64)
    keys = hashes[wanted]
    keys.sort()
    for buckets, documents in _buckets(keys, index_bits):
        _join_buckets(buckets, documents, alike, groups)


def _join_buckets(
    buckets: NDArray[np.int64],
    documents: NDArray[np.uint32],
    alike: Callable[[NDArray[np.uint32], NDArray[np.uint32]], NDArray[np.bool_]],
    groups: Groups,
) -> None:
    for _ in range(_MAX_LEADERS):
        if not len(documents):
            return
        starts = np.flatnonzero(np.diff(buckets, prepend=buckets[:1] - 1))
        leaders = np.repeat(documents[starts], np.diff(starts, append=len(buckets)))
        left = groups.first(documents) != groups.first(leaders)
        buckets, documents, leaders = buckets[left], documents[left], leaders[left]
        same = alike(documents, leaders)
        groups.join(documents[same], leaders[same])
        buckets, documents = buckets[~same], documents[~same]


def _buckets(keys: NDArray[np.uint64], index_bits: np.uint64) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint32]]]:
    """Buckets of at least two documents, many at a time: the number of its bucket for each document, and the document."""
    start, documents = 0, (np.uint64(1) << index_bits) - np.uint64(1)
    while start < len(keys):
        last = keys[min(start + _BLOCK_KEYS, len(keys)) - 1]
        stop = int(np.searchsorted(keys, last | documents, side="right"))  # the end of the bucket that it is in
        block = keys[start:stop]
        hashes = block >> index_bits
        same = hashes[1:] == hashes[:-1]
        several = np.concatenate([same, [False]]) | np.concatenate([[False], same])
        number = np.cumsum(np.concatenate([[True], ~same]))
        yield number[several], (block[several] & documents).astype(np.uint32)
        start = stop
