"""Signatures: stable for ever, the same in every process, and a true estimate of what texts have in common."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.duplicates.minhash import NO_SIGNATURE, estimated_similarity, ngram_hashes, signature, signature_scheme
from moyai.recipe.corpus_settings import DuplicateSettings

DEFAULT = DuplicateSettings()
TEXTS = [
    "国境の長いトンネルを抜けると雪国であった。夜の底が白くなった。信号所に汽車が止まった。",
    "The tide turns twice a day, and the boats that are moored side by side rise together.",
    "舟",
    "",
    "x" * 3000,
    "".join(chr(0x3041 + number * 7 % 80) for number in range(20_000)),
]


def test_signatures_are_what_they_were() -> None:
    found = [hashlib.sha256(signature(text, DEFAULT).astype("<u4").tobytes()).hexdigest()[:16] for text in TEXTS]
    assert found == GOLDEN, "signatures that are kept beside a corpus would no longer fit"
    assert signature_scheme(DEFAULT) == "r-minhash 2, 5-grams of letters and digits, 128, seed 1"


def test_another_process_with_other_hash_seeds_and_threads_gives_the_same() -> None:
    program = (
        "import hashlib, sys; from moyai.corpus.duplicates.minhash import signature;"
        "from moyai.recipe.corpus_settings import DuplicateSettings;"
        "print(hashlib.sha256(b''.join(signature(t, DuplicateSettings()).tobytes() for t in sys.argv[1:])).hexdigest())"
    )
    texts = [text for text in TEXTS if text]
    here = hashlib.sha256(b"".join(signature(text, DEFAULT).tobytes() for text in texts)).hexdigest()
    for seed, threads in (("1", "1"), ("2", "4")):
        environment = {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", program, *texts], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == here


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(1, 8))
def test_there_is_one_hash_for_each_ngram(text: str, ngram: int) -> None:
    letters = ngram_hashes(text, 1).tolist()
    hashes = ngram_hashes(text, ngram).tolist()
    size = min(ngram, len(letters))
    grams = [tuple(letters[start : start + size]) for start in range(len(letters) - size + 1)] if letters else []
    assert len(hashes) == len(grams)
    assert len(set(hashes)) == len(set(grams))
    assert len(set(zip(grams, hashes, strict=True))) == len(set(grams)), "the same n-gram has the same hash"


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1), st.sampled_from([" ", "\n", "、", "　", "— "]))
def test_spelling_and_what_is_between_letters_do_not_matter(text: str, between: str) -> None:
    spread = between.join(part for part in text.split() if part)
    assert (signature(spread.upper().lower(), DEFAULT) == signature("".join(text.split()).upper().lower(), DEFAULT)).all()


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("size", [60, 400, 20_000])
def test_the_estimate_is_unbiased(share: float, size: int) -> None:
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(40):
        shared = round(size * 2 * share / (1 + share))
        # distinct characters as 1-grams: the exact similarity is known
        codes = generator.permutation(np.arange(0x4E00, 0x4E00 + 20_900))[: 2 * size - shared]
        if len(codes) < 2 * size - shared:
            codes = generator.permutation(np.concatenate([np.arange(0x4E00, 0x9FA0), np.arange(0x20000, 0x2A000)]))
            codes = codes[: 2 * size - shared]
        one, other = ("".join(map(chr, part)) for part in (codes[:size], codes[size - shared :]))
        settings_ = DuplicateSettings(ngram=1)
        exact = shared / len(codes)
        errors.append(float(estimated_similarity(signature(one, settings_), signature(other, settings_))) - exact)
    deviation = (share * (1 - share) / 128) ** 0.5
    assert abs(np.mean(errors)) < 4 * deviation / len(errors) ** 0.5
    assert np.std(errors) < 1.4 * deviation


def test_a_text_without_letters_has_no_signature() -> None:
    assert (signature("！？ 😀\n", DEFAULT) == NO_SIGNATURE).all()


GOLDEN = [
    "f374feec8f9a017e",
    "45d091e33670d3d1",
    "d3eaafdf3d075bac",
    "9f56cda75fefeab9",
    "7b300b175d8cba7c",
    "5d90b76df171ae6a",
]
