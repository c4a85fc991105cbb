"""Reading sources of every format: the same documents, broken ones counted with their place, memory flat."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.documents import Document, read_documents
from moyai.corpus.reading.read import input_files, read_source
from moyai.corpus.reading.rows import count_rows
from moyai.errors import InputFileError, UserError
from moyai.recipe.corpus_settings import CorpusSource

ROWS: list[dict[str, Any]] = [
    {"id": "one", "text": "舟を岸に寄せる。", "split": "train", "meta": {"body": "inside", "number": 1}},
    {"id": None, "text": "The tide turns.", "split": "heldout", "meta": {"body": "inner", "number": 2}},
]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


WRITE: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "jsonl": jsonl,
    "jsonl.gz": lambda rows: gzip.compress(jsonl(rows)),
    "jsonl.zst": lambda rows: zstandard.compress(jsonl(rows)),
    "parquet": parquet,
}


def read(path: Path | str, broken: Broken | None = None, **settings: Any) -> list[Document]:
    source = CorpusSource(files=(str(path),), **settings)
    return list(read_source(str(path), source, broken or Broken("stop")))


@pytest.mark.parametrize("kind", WRITE)
def test_every_format_has_the_same_documents(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(WRITE[kind](ROWS))
    assert read(path) == [
        Document(f"{path}:1", "舟を岸に寄せる。", "train"),
        Document(f"{path}:2", "The tide turns.", "heldout"),
    ]
    assert [document.id for document in read_documents(path)] == ["one", f"a.{kind}:2"]
    assert count_rows(path) == 2


@pytest.mark.parametrize("kind", WRITE)
def test_columns_are_chosen(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(WRITE[kind]([{**row, "meta.number": 10 + index} for index, row in enumerate(ROWS)]))
    assert [document.text for document in read(path, text="meta.body")] == ["inside", "inner"]
    assert [document.id for document in read(path, id="id")] == ["one", f"{path}:2"]
    assert [document.id for document in read(path, id="meta.number")] == ["10", "11"], "a column of that very name"


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(ROWS))
    with pytest.raises(InputFileError, match=r"a\.parquet has no column 'body', which `text` names") as caught:
        read(path, Broken("drop"), text="body")
    assert caught.value.hint == "it has id, text, split, meta, meta.body, meta.number"
    with pytest.raises(InputFileError, match="has no column 'key', which `id` names"):
        read(path, id="key")
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(ROWS))
    broken = Broken("drop")
    assert read(path, broken, text="meta.none") == read(path, broken, text="id.body") == []
    assert broken.counts == {"no text": 4}


@pytest.mark.parametrize("kind", ["txt", "txt.gz", "txt.zst"])
def test_a_text_file_is_one_document(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"boats.{kind}"
    whole = "一行目\n二行目\r\n\n終わり"
    pack = {"txt": bytes, "txt.gz": gzip.compress, "txt.zst": zstandard.compress}[kind]
    path.write_bytes(pack(whole.encode()))
    ((document,), (other,)) = read(path), read(path, text="body")
    assert (document.id, document.text) == (other.id, other.text) == (str(path), whole)
    path.write_bytes(pack("舟\n".encode() + b"\xff\n\xff\n"))
    broken = Broken("drop")
    assert read(path, broken) == []
    assert broken.places["not UTF-8"] == [f"{path} line 2 is not UTF-8: byte 0xff at column 1"], "one document, counted once"


BROKEN_LINES = {
    b"\xff": "not UTF-8",
    b"{": "not JSON",
    b"[1]": "not an object",
    rb'{"text": "\ud83d"}': "half a character",
    b'{"body": "x"}': "no text",
    b'{"text": ""}': "empty text",
    b'{"text": ["x"]}': "text of another type",
    b'{"text": "x", "split": "dev"}': "unknown split",
}


def test_broken_lines_are_dropped_and_counted_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    good = b'{"text": "good"}'
    path.write_bytes(gzip.compress(b"\n".join(part for line in BROKEN_LINES for part in (good, line, b""))))
    broken = Broken("drop")
    assert [document.text for document in read(path, broken)] == ["good"] * len(BROKEN_LINES)
    assert dict(broken.counts) == dict.fromkeys(BROKEN_LINES.values(), 1)
    for index, reason in enumerate(BROKEN_LINES.values()):
        (place,) = broken.places[reason]
        assert place.startswith(f"{path} line {3 * index + 2} ")


@pytest.mark.parametrize("line", BROKEN_LINES)
def test_a_broken_line_stops_if_that_is_wanted(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line)
    with pytest.raises(InputFileError, match=r"a\.jsonl line 2 ") as caught:
        read(path)
    assert caught.value.exit_code == 2


def test_only_the_first_few_places_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{\n" * 25)
    broken = Broken("drop")
    assert read(path, broken) == []
    assert broken.counts["not JSON"] == 25
    assert [place.split(" is ")[0] for place in broken.places["not JSON"]] == [f"{path} line {n}" for n in range(1, 11)]


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array([b"one", b"\xff\xfe", None, b"four"], pa.binary()).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"text": texts}), path)
    broken = Broken("drop")
    assert [(document.id, document.text) for document in read(path, broken)] == [(f"{path}:1", "one"), (f"{path}:4", "four")]
    assert broken.places == {
        "not UTF-8": [f"{path} row 2 is not UTF-8"],
        "no text": [f"{path} row 3 has no text: its column 'text' is null"],
    }
    with pytest.raises(InputFileError, match=r"a\.parquet row 2 is not UTF-8"):
        read(path)
    pq.write_table(pa.table({"text": pa.array([b"one"], pa.binary())}), path)
    with pytest.raises(InputFileError, match="row 1 has a text that is no string but bytes"):
        read(path)


def test_damaged_archives_stop_whatever_is_done_about_lines(tmp_path: Path) -> None:
    rows = [{"text": f"{number} {number * 2654435761 % 2**32}"} for number in range(5000)]
    for kind, said in (("jsonl.gz", "gzip"), ("jsonl.zst", "zstd"), ("parquet", "Parquet")):
        path, whole = tmp_path / f"a.{kind}", WRITE[kind](rows)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputFileError, match=rf"a\.{kind} is not a whole {said} file: it breaks after (line|row) \d+"):
            read(path, Broken("drop"))
        path.write_bytes(b"")
        with pytest.raises(InputFileError, match=f"is not a whole {said} file"):
            read(path, Broken("drop"))


def test_a_parquet_page_that_is_damaged_names_the_row_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"{number} {number * 2654435761 % 2**32}" for number in range(4000)]})
    pq.write_table(table, path, row_group_size=1000, compression="zstd", use_dictionary=False)
    whole = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    whole[start + 100 : start + 400] = b"\xff" * 300
    path.write_bytes(bytes(whole))
    with pytest.raises(InputFileError, match=r"it breaks after row \d+: ") as caught:
        read(path)
    place = int(str(caught.value).split("after row ")[1].split(":")[0])
    assert 2000 - 256 <= place <= 2000, "rows are read 256 at a time"


def test_a_parquet_column_whose_name_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x"], "colour": [1]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"colour", b"colo\xffr"))
    with pytest.raises(InputFileError, match="is not a whole Parquet file: it breaks after row 0: 'utf-8' codec"):
        read(path)


@pytest.mark.parametrize("kind", WRITE)
def test_questions_are_written_out_as_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    rows = [("2 + 2?", "4"), ("2 + 3?", None), ("海は？", "青い")]
    path.write_bytes(WRITE[kind]([{"question": question, "answer": answer} for question, answer in rows]))
    broken = Broken("drop")
    first, second = read(path, broken, render="instructions")
    assert "2 + 2?" in first.text
    assert "4" in first.text
    assert (first.id, second.id) == (f"{path}:1", f"{path}:3")
    assert broken.counts.total() == 1
    ((place,),) = broken.places.values()
    assert place.startswith(f"{path} {'row' if kind == 'parquet' else 'line'} 2 ")
    with pytest.raises(InputFileError, match=" 2 "):
        read(path, render="instructions")


def test_only_the_first_documents_of_each_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": ""}\n' + jsonl([{"text": str(number)} for number in range(5)]) + b"broken")
    assert [document.text for document in read(path, Broken("drop"), max_documents=2)] == ["0", "1"], "of the good ones"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, said in (
        ("a.csv", r"a\.csv is of no kind that can be read"),
        ("a.parquet.gz", r"a\.parquet\.gz is a Parquet file in an archive"),
    ):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputFileError, match=said):
            read(tmp_path / name)
    with pytest.raises(InputFileError, match="does not exist"):
        read(tmp_path / "none.jsonl")


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(ROWS))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match="Parquet files need pyarrow") as caught:
        read(path)
    assert caught.value.hint == "pip install 'moyai[corpus]'"


def test_files_of_a_source_each_once_in_order(tmp_path: Path) -> None:
    names = ["b.jsonl", "a.txt", "deep/c.parquet", "deep/d.jsonl.zst", ".hidden/e.txt", "notes.md", "f.jsonl.partial"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def found(*files: str) -> list[str]:
        return [Path(name).relative_to(tmp_path).as_posix() for name in input_files(CorpusSource(files=files))]

    assert found(str(tmp_path)) == ["a.txt", "b.jsonl", "deep/c.parquet", "deep/d.jsonl.zst"]
    assert found(f"{tmp_path}/*.*") == ["a.txt", "b.jsonl", "f.jsonl.partial", "notes.md"], "a glob is taken at its word"
    assert found(f"{tmp_path}/**/*.jsonl*") == ["b.jsonl", "deep/d.jsonl.zst", "f.jsonl.partial"]
    assert found(f"{tmp_path}/b.jsonl", f"{tmp_path}/[ab].*") == ["b.jsonl", "a.txt"], "each once, where it comes first"
    kept = ("starter:ja_text", "hub:owner/words/ja:train")
    assert input_files(CorpusSource(files=kept)) == list(kept)


def test_sources_where_nothing_is(tmp_path: Path) -> None:
    for name, said in (
        (f"{tmp_path}/*.jsonl", r"no file matches .*/\*\.jsonl"),
        (str(tmp_path), "the directory .* holds no text"),
        (f"{tmp_path}/none.jsonl", r"corpus file .*none\.jsonl does not exist"),
        ("starter:none", "the starter pack has no 'none'"),
        ("hub:words:train", "'hub:words:train' names no data set on the hub"),
    ):
        with pytest.raises(UserError, match=said):
            input_files(CorpusSource(files=(name,)))


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    path = tmp_path / "a[1].jsonl"
    path.write_bytes(jsonl(ROWS))
    assert input_files(CorpusSource(files=(str(path),))) == [str(path)]


@pytest.mark.parametrize("kind", [*WRITE, "one row group"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    num_rows, text = 20_000, "潮が満ちて舟が浮く。" * 60
    path = tmp_path / f"a.{'parquet' if kind == 'one row group' else kind}"
    if path.suffix == ".parquet":
        texts = [f"{number} {text}" for number in range(num_rows)]
        pq.write_table(pa.table({"text": texts}), path, row_group_size=num_rows if kind == "one row group" else 2000)
        del texts
    else:
        pack = {".gz": gzip.open, ".zst": zstandard.open}.get(path.suffix, open)
        with pack(path, "wb") as file:
            for number in range(num_rows):
                file.write(jsonl([{"text": f"{number} {text}"}]))
    total = num_rows * len(text.encode())
    assert total > 35e6
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    most_of_arrow = num = 0
    for _ in read_source(str(path), CorpusSource(files=(str(path),)), Broken("stop")):
        num += 1
        most_of_arrow = max(most_of_arrow, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1] + most_of_arrow
    tracemalloc.stop()
    assert num == num_rows
    assert peak < 15e6, f"{peak / 1e6:.0f} MB for a text of {total / 1e6:.0f} MB"


def test_a_file_that_is_spelled_in_two_ways_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("舟", encoding="utf-8")
    (tmp_path / "b.txt").symlink_to("a.txt")
    names = ("a.txt", "./a.txt", str(tmp_path / "a.txt"), "*.txt", "b.txt", "starter:ja_text", "starter:ja_text")
    assert input_files(CorpusSource(files=names)) == ["a.txt", "starter:ja_text"]
