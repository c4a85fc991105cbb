"""Evaluation files: every shape that sets come in gives its items and texts; damage is named."""

from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from pathlib import Path

import pytest
import zstandard

from moyai.corpus.contamination.evaluation_files import EvaluationFiles, read_items
from moyai.errors import InputFileError

ROWS = [{"id": 1, "question": "海は？", "choices": ["青", "赤"], "label": 0}, {"question": "空は？", "meta": {"by": "x"}}]
ITEMS = [["海は？", "青", "赤"], ["空は？", "x"]]


def lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines(ROWS)),
        ("a.json", lines(ROWS)),
        ("a.json", json.dumps(ROWS, ensure_ascii=False, indent=1).encode()),
        ("a.json", json.dumps({"version": "1", "examples": ROWS}).encode()),
        ("a.jsonl.gz", gzip.compress(lines(ROWS))),
        ("a.jsonl.bz2", bz2.compress(lines(ROWS))),
        ("a.jsonl.zst", zstandard.ZstdCompressor().compress(lines(ROWS))),
    ],
)
def test_json_in_every_form(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = [[text for text in item if text != "1"] for item in read_items(tmp_path / name)]
    assert found == ITEMS


@pytest.mark.parametrize(
    ("name", "content", "items"),
    [
        ("a.csv", '"海は, どこ？",青\n"二行\nの問",赤\n', [["海は, どこ？", "青"], ["二行\nの問", "赤"]]),
        ("a.tsv", 'He said "no\tx\ny\t"z\n', [['He said "no', "x"], ["y", '"z']]),
        ("a.txt", "一\n二\n", [["一\n"], ["二\n"]]),
        ("newstest.en", "One.\nTwo.", [["One.\n"], ["Two."]]),
        ("a.xml", "<q><i n='1'>海<b>空</b>山</i><i>川</i></q>", [["海", "空", "山"], ["川"]]),
        ("a.json", '{"q": "海", "n": {"1": "空"}}', [["海", "空"]]),
        ("a.json", '["海", "空"]', [["海"], ["空"]]),
    ],
)
def test_tables_lines_and_trees(tmp_path: Path, name: str, content: str, items: list[list[str]]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert list(read_items(tmp_path / name)) == items


def test_an_article_has_an_item_for_each_paragraph(tmp_path: Path) -> None:
    paragraphs = [{"context": "海は青い。", "qas": [{"question": "色は？"}]}, {"context": "山", "qas": []}]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "海", "paragraphs": paragraphs}]}))
    assert list(read_items(path)) == [["海は青い。", "色は？"], ["山"]]


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"q": ["海は？", "空は？"], "c": [["青", "赤"], []], "n": [1, 2]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert list(read_items(tmp_path / "a.parquet")) == [["海は？", "青", "赤"], ["空は？"]]


def test_directories_globs_and_names(tmp_path: Path) -> None:
    for name in ("jglue/a/valid.json", "jglue/b/valid.json", "mgsm/ja.tsv", "mgsm/LICENSE", "other.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    zipfile.ZipFile(tmp_path / "mgsm/x.zip", "w").close()
    every = EvaluationFiles.find([str(tmp_path)])
    assert [*every.sets] == ["jglue/a/valid.json", "jglue/b/valid.json", "mgsm/ja.tsv", "other.txt"]
    assert [path.name for path in every.left_out] == ["LICENSE", "x.zip"]
    assert [*EvaluationFiles.find([f"{tmp_path}/*g*", f"{tmp_path}/mgsm/ja.tsv"]).sets] == [*every.sets][:3]
    assert [*EvaluationFiles.find([f"{tmp_path}/jglue/*/valid.json"]).sets] == ["a/valid.json", "b/valid.json"]
    assert [*EvaluationFiles.find([str(tmp_path / "mgsm/ja.tsv")]).sets] == ["ja.tsv"]
    assert [*EvaluationFiles.find(["starter:quiz_ja"]).sets] == ["quiz_ja.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"a": "x"}\n{"a": \n', r"a\.jsonl line 2 is not JSON: Expecting value"),
        ("a.json", b"[1, 2", r"a\.json line 1 is not JSON"),
        ("a.txt", b"a\n\xff\n", r"a\.txt line 2 is not UTF-8: byte 0xff at column 1"),
        ("a.xml", b"<a><b></a>", r"a\.xml is not XML: mismatched tag"),
        ("a.csv", b"a," + b"x" * 200_000, r"a\.csv line 1 is not a row of a table"),
        ("a.txt.bz2", bz2.compress(b"abc" * 1000)[:-9], r"a\.txt\.bz2 is not a whole bzip2 file"),
        ("a.txt.bz2", b"abc", r"a\.txt\.bz2 is not a whole bzip2 file"),
        ("a.txt.gz", b"abc", r"a\.txt\.gz is not a whole gzip file"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputFileError, match=said):
        list(read_items(tmp_path / name))


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"x")
    for name, said in (
        (f"{tmp_path}/none.jsonl", "none.jsonl does not exist"),
        (f"{tmp_path}/*.jsonl", r"\*.jsonl does not exist"),
        (f"{tmp_path}/a.pdf", "a.pdf is of no kind that can be read"),
    ):
        with pytest.raises(InputFileError, match=said):
            EvaluationFiles.find([name])
    with pytest.raises(InputFileError, match="does not exist"):
        list(read_items(tmp_path / "none.txt.bz2"))
