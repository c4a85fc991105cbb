"""Duplicates: the first stays, with edits up to the threshold and however the corpus is cut into files."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.duplicates.find import SignedFile, find_duplicates, text_digest
from moyai.corpus.duplicates.minhash import ngram_hashes, signature
from moyai.errors import InputFileError
from moyai.recipe.corpus_settings import DuplicateSettings

DEFAULT = DuplicateSettings()
JAPANESE = "".join(map(chr, [*range(0x3041, 0x3097), *range(0x4E00, 0x4E80)]))
ENGLISH = ["tide", "boat", "moor", "river", "stone", "light", "wind", "harbour", "rope", "sail", "deep", "north", "bell"]


def signed(directory: Path, files: Sequence[Sequence[str]], settings: DuplicateSettings = DEFAULT) -> list[SignedFile]:
    found = []
    for number, texts in enumerate(files):
        file = SignedFile(directory / f"{number}.digests", directory / f"{number}.signatures")
        file.digests.write_bytes(b"".join(map(text_digest, texts)))
        file.signatures.write_bytes(b"".join(signature(text, settings).astype("<u4").tobytes() for text in texts))
        found.append(file)
    return found


def text_of(language: str, rng: random.Random) -> str:
    if language == "ja":
        return "".join(rng.choices(JAPANESE, k=600))
    return " ".join(rng.choices(ENGLISH, k=30)) + " ".join(f"{rng.choice(ENGLISH)}{rng.randrange(999)}" for _ in range(150))


def edited(text: str, num_edits: int, rng: random.Random) -> str:
    characters = list(text)
    for place in rng.sample(range(len(characters)), num_edits):
        characters[place] = rng.choice(JAPANESE)
    return "".join(characters)


def similarity(one: str, other: str) -> float:
    first, second = (set(ngram_hashes(text, 5).tolist()) for text in (one, other))
    return len(first & second) / len(first | second)


@settings(deadline=None)
@given(st.text(), st.sampled_from([" ", "\n", "　", "\t\r\n"]))
def test_white_space_does_not_change_a_digest(text: str, space: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert text_digest(space.join(text)) == text_digest(text)
    assert len(text_digest(text)) == 16
    assert text_digest(text + "。") != text_digest(text)


def test_digests_are_what_they_were() -> None:
    joined = b"".join(map(text_digest, ["", "舟を岸に寄せる。", "The tide turns.", "Ａ", "A"]))
    assert hashlib.sha256(joined).hexdigest()[:16] == GOLDEN_DIGESTS


def test_the_first_in_corpus_order_stays_and_is_named(tmp_path: Path) -> None:
    rng = random.Random(0)
    one, two = text_of("ja", rng), text_of("en", rng)
    near_two = edited(two, 6, rng)
    files = [[one, two], [], ["short", f"{one[:300]}\n {one[300:]}", near_two], [near_two.replace(" ", "\n"), two]]
    found = find_duplicates(signed(tmp_path, files), DEFAULT, tmp_path)
    assert [found.dropped(file).tolist() for file in range(4)] == [[False] * 2, [], [False, True, True], [True, True]]
    assert [found.reason(2, row) for row in range(3)] == [None, "exact duplicate", "near duplicate"]
    assert [found.reason(3, row) for row in range(2)] == ["exact duplicate", "exact duplicate"]
    assert [found.original(2, 1), found.original(2, 2), found.original(3, 0), found.original(3, 1)] == [
        (0, 0),
        (0, 1),
        (0, 1),
        (0, 1),
    ]
    assert found.counts == {"exact duplicate": 3, "near duplicate": 1}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [], "nothing is left in the scratch"


@pytest.mark.parametrize("language", ["ja", "en"])
def test_planted_edits_against_the_exact_similarity(tmp_path: Path, language: str) -> None:
    rng = random.Random(language)
    texts = [text_of(language, rng) for _ in range(300)]
    copies = [edited(text, round(len(text) * rng.uniform(0, 0.06)), rng) for text in texts]
    found = find_duplicates(signed(tmp_path, [texts, copies]), DEFAULT, tmp_path)
    assert not found.dropped(0).any(), "texts that have nothing to do with each other"
    exact = np.array([similarity(text, copy) for text, copy in zip(texts, copies, strict=True)])
    high, low = found.dropped(1)[exact >= 0.88], found.dropped(1)[exact < 0.7]
    assert min(len(high), len(low)) > 40, "both sides of the threshold are tried"
    assert high.all()
    assert not low.any()
    assert all(found.original(1, row) == (0, row) for row in range(300) if found.dropped(1)[row])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_how_the_corpus_is_cut_into_files_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, which: list[int], cuts: list[int]
) -> None:
    rng = random.Random(5)
    pool = [text_of("ja", rng) for _ in range(3)]
    pool += [edited(text, 4, rng) for text in pool]
    texts = [pool[number] for number in which]
    borders = [0, *sorted(min(cut, len(texts)) for cut in cuts), len(texts)]
    files = [texts[start:stop] for start, stop in pairwise(borders)]
    directory = tmp_path_factory.mktemp("cut")
    whole = find_duplicates(signed(directory, [texts]), DEFAULT, directory)
    cut = find_duplicates(signed(directory, files), DEFAULT, directory)
    assert cut.first.tolist() == whole.first.tolist()
    seen: dict[int, int] = {}
    assert whole.first.tolist() == [seen.setdefault(number % 3, row) for row, number in enumerate(which)]


def test_each_kind_can_be_left_out(tmp_path: Path) -> None:
    rng = random.Random(1)
    one = text_of("ja", rng)
    files = signed(tmp_path, [[one, one, edited(one, 3, rng)]])
    exact_only = find_duplicates(files, DuplicateSettings(near=None), tmp_path)
    assert exact_only.dropped(0).tolist() == [False, True, False]
    near_only = find_duplicates(files, DuplicateSettings(exact=False), tmp_path)
    assert near_only.counts == {"exact duplicate": 0, "near duplicate": 2}
    none = find_duplicates(files, DuplicateSettings(exact=False, near=None), tmp_path)
    assert not none.dropped(0).any()


def test_texts_without_letters_are_not_like_each_other(tmp_path: Path) -> None:
    found = find_duplicates(signed(tmp_path, [["！？", "😀", "。。。", "！？"]]), DEFAULT, tmp_path)
    assert found.dropped(0).tolist() == [False, False, False, True]


def test_digests_that_begin_alike_are_compared_whole(tmp_path: Path) -> None:
    digests = np.zeros((3, 16), np.uint8)
    digests[1, 15] = 1
    file = SignedFile(tmp_path / "digests", tmp_path / "none")
    digests.tofile(file.digests)
    found = find_duplicates([file], DuplicateSettings(near=None), tmp_path)
    assert found.dropped(0).tolist() == [False, False, True]


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    (file,) = signed(tmp_path, [["a", "b"]])
    file.signatures.write_bytes(file.signatures.read_bytes()[:-512])
    with pytest.raises(InputFileError, match="has 1 records, and there are 2 documents"):
        find_duplicates([file], DEFAULT, tmp_path)
    file.signatures.write_bytes(file.signatures.read_bytes()[:-1])
    with pytest.raises(InputFileError, match="has 511 bytes, which are no whole records of 512 bytes"):
        find_duplicates([file], DEFAULT, tmp_path)
    file.signatures.unlink()
    with pytest.raises(InputFileError, match="does not exist"):
        find_duplicates([file], DEFAULT, tmp_path)


def test_no_documents_at_all(tmp_path: Path) -> None:
    assert find_duplicates([], DEFAULT, tmp_path).counts == {"exact duplicate": 0, "near duplicate": 0}
    assert find_duplicates(signed(tmp_path, [[], []]), DEFAULT, tmp_path).dropped(1).tolist() == []


GOLDEN_DIGESTS = "4718707fca3cb1db"
