"""MinHash signatures: from two of them follows how much two texts have in common, without the texts.

The signatures are R-MinHash of the library rensa (after Fast Similarity Sketching, arXiv 1704.04370).  Its numbers
depend on the library's algorithm version, on our hashes of n-grams and on a fixed seed, and on nothing else: not on the
process, the machine or the order of documents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.corpus.extras import need
from moyai.corpus.folding import fold
from moyai.recipe.corpus_settings import DuplicateSettings

NO_SIGNATURE = 0xFFFFFFFF
"""Every number of the signature of a text without a letter or digit; such a text is like no other."""

_SEED = 1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def signature(text: str, settings: DuplicateSettings) -> NDArray[np.uint32]:
    """The signature of a text's character n-grams.

    Letters and digits count, in the spelling of `fold`, without what is between them.  n-grams are of characters in
    every language: Japanese has no spaces, and with one rule a text of both languages needs no decision.
    A text shorter than an n-gram is one n-gram.

    Returns:
        uint32 [settings.permutations].  The share of places in which two signatures agree estimates the Jaccard
        similarity of the two sets of n-grams.

    Raises:
        UserError: rensa is not installed.
    """
    hashes = ngram_hashes(text, settings.ngram)
    if not len(hashes):
        return np.full(settings.permutations, NO_SIGNATURE, np.uint32)
    matrix = _rensa().RMinHash.digest_matrix_from_flat_token_hashes(
        hashes, [0, len(hashes)], settings.permutations, _SEED
    )
    return np.array(matrix.to_rows()[0], np.uint32)


def ngram_hashes(text: str, ngram: int) -> NDArray[np.uint64]:
    """A hash for each n-gram of the folded text, in order, repetitions included.

    >>> len(ngram_hashes("The tide turns.", 5)), len(ngram_hashes("tide", 5)), len(ngram_hashes("。", 5))
    (8, 1, 0)
    """
    folded = fold(text)
    codes = folded[folded != 0].astype(np.uint64)
    length = min(ngram, len(codes))
    hashes = np.zeros(len(codes) - length + 1 if length else 0, np.uint64)
    for place in range(length):
        hashes *= _MULTIPLIER
        hashes += codes[place : place + len(hashes)]
    return hashes


def estimated_similarity(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> NDArray[np.float64]:
    """The estimated Jaccard similarity of pairs of texts.

    Its standard deviation is at most about √(J (1 − J) / permutations): 0.035 at 0.8 and 128.

    Args:
        first: signatures, uint32 [..., permutations].
        second: as many.

    >>> float(estimated_similarity(np.array([1, 2, 3, 4], np.uint32), np.array([1, 2, 3, 5], np.uint32)))
    0.75
    """
    return np.asarray(np.mean(first == second, axis=-1))


def signature_scheme(settings: DuplicateSettings) -> str:
    """What signatures must have in common to be compared; kept beside them.

    Raises:
        UserError: rensa is not installed.
    """
    version = _rensa().RMinHash.ALGORITHM_VERSION
    return f"r-minhash {version}, {settings.ngram}-grams of letters and digits, {settings.permutations}, seed {_SEED}"


def _rensa() -> Any:
    return need("rensa", "Near duplicates")
