"""Cleaning one file: every document is somewhere, once, and the work may be done again."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from moyai.corpus.duplicates.find import text_digest
from moyai.corpus.duplicates.minhash import signature
from moyai.corpus.packing.clean import Cleaned, CleanedFile, CleanJob, clean_file, counts_of
from moyai.corpus.packing.parts import plan_parts
from moyai.corpus.reading.documents import read_documents
from moyai.errors import InputFileError
from moyai.recipe.corpus_settings import PrepareSettings
from tiny import ENGLISH, JAPANESE


def write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def job(root: Path, rows: list[Any], name: str = "a.jsonl", **changes: Any) -> CleanJob:
    file = write(root / name, rows)
    source = {"files": str(file), "id": "id", **changes.pop("source", {})}
    settings = PrepareSettings.model_validate({"sources": {"s": source}, **changes})
    return CleanJob("s", str(file), settings, root / "cleaned" / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cleaned").mkdir()
    return tmp_path


def content(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


ROWS: list[Any] = [
    {"id": "kept", "text": JAPANESE * 3, "split": "train"},
    {"id": "aside", "text": JAPANESE * 4, "split": "heldout"},
    {"id": "other", "text": ENGLISH * 3, "split": "train"},
    "{broken",
    {"id": "also kept", "text": JAPANESE * 2, "split": "train"},
    {"id": "empty", "text": "", "split": "train"},
]


def test_every_document_is_somewhere(root: Path) -> None:
    work = job(root, ROWS, source={"language": "ja"}, broken="drop")
    counts = clean_file(work)
    assert (counts.read, counts.kept) == (6, 2)
    assert counts.dropped == {"empty text": 1, "held out": 1, "language": 1, "not JSON": 1}
    result = CleanedFile(work.directory)
    kept = list(result.read())
    assert [row["id"] for row in kept] == ["kept", "also kept"]
    assert [row["text"] for row in kept] == [JAPANESE * 3, JAPANESE * 2]
    assert counts.kept_characters == len(JAPANESE) * 5
    assert counts.kept_bytes == len((JAPANESE * 5).encode())
    digests = result.signed.digests.read_bytes()
    assert digests == b"".join(text_digest(row["text"]) for row in kept)
    signatures = np.fromfile(result.signed.signatures, "<u4").reshape(2, 128)
    assert np.array_equal(signatures[1], signature(kept[1]["text"], work.settings.duplicates))
    dropped = [json.loads(line)[1] for line in result.dropped.read_text(encoding="utf-8").splitlines()]
    assert {row["reason"] for row in dropped} == {"empty text", "language", "not JSON"}
    assert {row.get("id") for row in dropped} == {"other", None}
    assert any("line 4 is not JSON" in row.get("problem", "") for row in dropped)
    assert result.counts() == counts


def test_held_out_documents_are_set_aside_as_held_out_ones(root: Path) -> None:
    work = job(root, [row for row in ROWS if isinstance(row, dict) and row["text"]])
    clean_file(work)
    path = root / "heldout.jsonl.gz"
    path.write_bytes(CleanedFile(work.directory).held_out.read_bytes())
    (document,) = read_documents(path)
    assert (document.id, document.text, document.split) == ("aside", JAPANESE * 4, "heldout")


def test_what_is_not_said_is_held_out_by_the_hash_as_everywhere(root: Path) -> None:
    texts = [f"document {number}" for number in range(640)]
    work = job(root, [{"text": text} for text in texts])
    counts = clean_file(work)
    expected = [document.text for document in read_documents(Path(work.file)) if document.split == "heldout"]
    with gzip.open(CleanedFile(work.directory).held_out, "rt", encoding="utf-8") as file:
        assert [json.loads(line)["text"] for line in file] == expected
    assert counts.dropped == {"held out": len(expected)}
    assert expected


def test_what_is_done_is_not_done_again_and_what_is_half_done_is(root: Path) -> None:
    work = job(root, ROWS[:3])
    first = clean_file(work)
    before = content(work.directory)
    Path(work.file).unlink()
    assert clean_file(work) == first
    write(Path(work.file), ROWS[:3])
    (work.directory / "counts.json").unlink()
    (root / "cleaned" / "a.jsonl.partial-1").mkdir()  # of another process
    assert clean_file(work) == first
    assert content(work.directory) == before, "the same bytes"


def test_signatures_of_another_kind_are_made_anew(root: Path) -> None:
    work = job(root, ROWS[:3])
    first = clean_file(work)
    stale = first.model_copy(update={"scheme": "of another library", "kept": 99})
    for content in (stale.model_dump_json(), '{"of": "another version"}'):
        (work.directory / "counts.json").write_text(content)
        assert clean_file(work) == first


def test_what_is_held_out_is_signed_too(root: Path) -> None:
    work = job(root, ROWS[:3])
    clean_file(work)
    signed = CleanedFile(work.directory).signed_held_out
    assert signed.digests.read_bytes() == text_digest(JAPANESE * 4)
    expected = signature(JAPANESE * 4, work.settings.duplicates)
    assert np.array_equal(np.fromfile(signed.signatures, "<u4"), expected)


def test_the_result_of_another_file_is_not_this_ones(root: Path) -> None:
    work = job(root, ROWS[:3])
    other = job(root, ROWS[:1], name="b.jsonl")
    clean_file(work)
    moved = CleanJob("s", other.file, other.settings, work.directory)
    assert counts_of(moved) is None
    assert clean_file(moved).file == other.file
    assert counts_of(moved) == CleanedFile(work.directory).counts()


def test_what_another_process_finishes_meanwhile_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = job(root, ROWS[:3])
    first = clean_file(work)
    node = (work.directory / "counts.json").stat().st_ino
    looks, counts = 0, CleanedFile.counts

    def late(self: CleanedFile) -> Cleaned | None:
        nonlocal looks
        looks += 1
        return None if looks == 1 else counts(self)

    monkeypatch.setattr(CleanedFile, "counts", late)
    assert clean_file(work) == first
    assert (work.directory / "counts.json").stat().st_ino == node


def test_kept_documents_that_were_cut_short_are_told(root: Path) -> None:
    work = job(root, [{"text": f"{ENGLISH} {number}", "split": "train"} for number in range(300)])
    clean_file(work)
    result = CleanedFile(work.directory)
    whole = result.documents.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 12)):
        result.documents.write_bytes(whole[:size])
        with pytest.raises(InputFileError, match="is not a whole zstd file"):
            list(result.read())
    lines = zstandard.ZstdDecompressor().decompressobj().decompress(whole).splitlines(keepends=True)
    result.documents.write_bytes(zstandard.ZstdCompressor().compress(b"".join(lines[:200])))
    with pytest.raises(InputFileError, match="has 200 documents, and 300 were kept"):
        list(result.read())


def test_a_file_of_which_nothing_is_kept_can_be_read(root: Path) -> None:
    work = job(root, ROWS[2:3], source={"language": "ja"})
    assert clean_file(work).kept == 0
    assert not list(CleanedFile(work.directory).read())


def test_no_signature_is_made_where_near_duplicates_are_not_looked_for(root: Path) -> None:
    work = job(root, ROWS[:3], duplicates={"near": None})
    assert clean_file(work).scheme == ""
    assert CleanedFile(work.directory).signed.signatures.read_bytes() == b""


def test_a_broken_line_stops_and_leaves_nothing_that_counts(root: Path) -> None:
    work = job(root, ROWS, source={"language": "ja"})
    with pytest.raises(InputFileError, match=r"a\.jsonl line 4 is not JSON"):
        clean_file(work)
    assert not work.directory.exists()
    write(Path(work.file), ROWS[:3])
    assert clean_file(work).kept == 1


def test_only_so_many_samples_are_kept(root: Path) -> None:
    rows = [{"text": f"{ENGLISH} {number}", "split": "train"} for number in range(30)]
    work = job(root, rows, source={"language": "ja"}, dropped_samples=4)
    assert clean_file(work).dropped == {"language": 30}
    assert len(CleanedFile(work.directory).dropped.read_text(encoding="utf-8").splitlines()) == 4


def test_questions_and_answers_are_written_out_as_text(root: Path) -> None:
    rows = [{"question": "舟は何艘？", "answer": "三艘です。", "split": "train"}]
    work = job(root, rows, source={"render": "instructions", "id": None})
    assert clean_file(work).kept == 1
    (document,) = CleanedFile(work.directory).read()
    assert "舟は何艘？" in document["text"]
    assert "三艘です。" in document["text"]


def test_parts_are_neighbours_of_one_source_up_to_a_size(root: Path) -> None:
    counts = clean_file(job(root, ROWS[:1]))
    sizes = [("a", 4), ("a", 5), ("a", 2), ("b", 1), ("b", 30), ("b", 1), ("b", 1)]
    cleaned = [counts.model_copy(update={"source": source, "kept_bytes": size}) for source, size in sizes]
    assert plan_parts(cleaned, 10) == [(0, 1), (2,), (3,), (4,), (5, 6)]
    assert plan_parts(cleaned, 1000) == [(0, 1, 2), (3, 4, 5, 6)]
    assert plan_parts([], 10) == []
