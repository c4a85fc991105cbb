"""The pieces of work of a preparation: which files there are is settled once, and damage is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from moyai.corpus.packing.clean import clean_file
from moyai.corpus.packing.parts import cleaned_file, pack_part, part_counts
from moyai.corpus.packing.preparation import Preparation
from moyai.errors import InputFileError, UserError
from moyai.progress import SilentProgress
from moyai.recipe.corpus_settings import PrepareSettings
from tiny import ENGLISH, write_tiny_tokenizer


@pytest.fixture
def begin(tmp_path: Path) -> Callable[[], Preparation]:
    """Begins or goes on, as any process would that is given the same settings and directory."""
    (tmp_path / "tokenizer").mkdir()
    write_tiny_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "work").mkdir()
    for name in "abc":
        rows = [{"text": f"{ENGLISH} {name} {number * 7919}", "split": "train"} for number in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {"sources": {"s": f"{tmp_path}/*.jsonl"}, "duplicates": {"near": None}, "shard_bytes": 1}

    def preparation() -> Preparation:
        return Preparation(PrepareSettings.model_validate(values), tmp_path / "work", tmp_path / "tokenizer")

    return preparation


def prepared(begin: Callable[[], Preparation]) -> Preparation:
    for job in begin().clean_jobs():
        clean_file(job)
    begin().find_duplicates(SilentProgress())
    return begin()


def test_a_file_that_comes_or_is_renamed_later_changes_no_number(
    begin: Callable[[], Preparation], tmp_path: Path
) -> None:
    files = begin().files()
    assert files == [("s", str(tmp_path / f"{name}.jsonl")) for name in "abc"]
    prepared(begin)
    (tmp_path / "a.jsonl").rename(tmp_path / "z.jsonl")
    (tmp_path / "0.jsonl").write_text(json.dumps({"text": "late"}) + "\n")
    assert begin().files() == files
    packed = [pack_part(job) for job in begin().pack_jobs()]
    assert [part.documents for part in packed] == [20, 20, 20]


def test_the_result_of_another_file_does_not_count_as_done(begin: Callable[[], Preparation]) -> None:
    for job in begin().clean_jobs():
        clean_file(job)
    counts = begin().clean_jobs()[1].directory / "counts.json"
    counts.write_text(counts.read_text().replace("b.jsonl", "d.jsonl"))
    with pytest.raises(UserError, match=r"1 of 3 files are not cleaned yet, the first is .*b\.jsonl"):
        begin().pack_jobs()


def test_the_commit_of_a_data_set_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = iter("12")
    monkeypatch.setattr("moyai.corpus.reading.hub.hub_commit", lambda source: next(commits) * 40)
    settings = PrepareSettings.model_validate({"sources": {"s": "hub:owner/words:train"}})
    for _ in range(2):
        assert Preparation(settings, tmp_path, tmp_path).files() == [("s", f"hub:owner/words@{'1' * 40}:train")]


def test_digests_that_were_lost_are_told(begin: Callable[[], Preparation]) -> None:
    for job in begin().clean_jobs():
        clean_file(job)
    digests = cleaned_file(begin().cleaned_dir, 1).signed.digests
    digests.write_bytes(digests.read_bytes()[:-16])
    with pytest.raises(InputFileError, match="has other numbers of digests than of documents"):
        begin().find_duplicates(SilentProgress())


def test_a_part_of_another_version_is_packed_anew(begin: Callable[[], Preparation]) -> None:
    job = prepared(begin).pack_jobs()[0]
    first = pack_part(job)
    (job.directory / "packed.json").write_text('{"of": "another version"}')
    assert part_counts(job.directory) is None
    assert pack_part(job) == first
    assert part_counts(job.directory) == first
