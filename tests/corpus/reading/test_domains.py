from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moyai.corpus.reading.domains import DomainText, heldout_by_domain, read_domain_texts
from moyai.errors import InputFileError


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_domains_are_the_beginning_of_the_source(tmp_path: Path) -> None:
    file = write(
        tmp_path / "ja.web.jsonl",
        [
            {"text": "舟", "source": "wiki:Q1:2", "split": "train"},
            {"text": "岸", "source": "blog", "split": "heldout"},
            {"text": "海", "split": "train"},
        ],
    )
    assert list(read_domain_texts(file)) == [
        DomainText("ja", "wiki", "舟", "train"),
        DomainText("ja", "blog", "岸", "heldout"),
        DomainText("ja", "", "海", "train"),
    ]


def test_parallel_sentences_are_two_texts(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", [{"ja": "舟", "en": "a boat", "source": "tanaka"}])
    found = [(text.name, text.domain, text.text) for text in read_domain_texts(file)]
    assert found == [("pairs/ja", "tanaka", "舟"), ("pairs/en", "tanaka", "a boat")]


def test_plain_text_and_the_starter_pack(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("一行\n二行\n", encoding="utf-8")
    assert [(t.name, t.text) for t in read_domain_texts(str(tmp_path / "book.txt"))] == [("book", "一行\n二行\n")]
    assert {text.name for text in read_domain_texts("starter:ja_text")} == {"ja_text"}


def test_a_row_without_text(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": "舟"}, {"title": "岸"}])
    with pytest.raises(InputFileError, match="line 2 has no text"):
        list(read_domain_texts(file))
    with pytest.raises(InputFileError, match="does not exist"):
        list(read_domain_texts(str(tmp_path / "b.jsonl")))


def test_held_out_texts_of_a_file_and_of_each_of_its_domains(tmp_path: Path) -> None:
    rows = [
        {"text": "舟", "source": "sea:1", "split": "heldout"},
        {"text": "山", "source": "land:1", "split": "heldout"},
        {"text": "港", "source": "sea:2", "split": "heldout"},
        {"text": "川", "source": "land:2", "split": "train"},
    ]
    path = tmp_path / "places.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plain = tmp_path / "plain.jsonl"
    plain.write_text("".join(json.dumps({"text": c * 3, "split": "heldout"}) + "\n" for c in "abc"), encoding="utf-8")
    found = heldout_by_domain([str(path), str(plain)], most_characters=5)
    assert found == {
        "places": ["舟", "港", "山"],
        "places: land": ["山"],
        "places: sea": ["舟", "港"],
        "plain": ["aaa", "bbb"],
    }
