"""Records: a fingerprint is stable, says everything, and refuses what has no stable form."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from moyai.errors import InputFileError
from moyai.recipe.load import parse_recipe
from moyai.recipe.record import RECORD_NAME, Identity, Parent, Record, canonical_json, read_record, records_of_run

# A fingerprint that changed makes every artifact of every user be made again: change this only on purpose.
PINNED = "2ffff0929822f846bec92f09e1edc9a4"


def identity(**changes: Any) -> Identity:
    values = {
        "kind": "extend",
        "revision": 1,
        "settings": {"pieces": 5, "corpus": {"b": 0.3, "a": 0.7}, "name": "語彙"},
        "parents": (Parent(name="init", fingerprint="0" * 64),),
        "outside": {"starter:ja_text": "1" * 64},
    }
    return Identity(**{**values, **changes})


def record(name: str, *, made: Identity | None = None) -> Record:
    made = made or identity()
    return Record(
        moyai="0", name=name, identity=made, fingerprint=made.fingerprint(), results={}, versions={}, machine={},
        started="2026-01-01T00:00:00+0000", seconds=1.0, peak_bytes=1, resumed=0,
    )  # fmt: skip


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"d": "あ", "c": True}}) == '{"a":{"c":true,"d":"あ"},"b":[1,2.5,null]}'
    assert canonical_json({"x": (1, 2)}) == canonical_json({"x": [1, 2]})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a", "b"}, b"bytes", object(), Path("x")])
def test_a_value_without_a_stable_form_raises(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json({"a": value})
    with pytest.raises((TypeError, ValueError)):
        identity(settings={"a": value}).fingerprint()


def test_a_fingerprint_does_not_depend_on_order_or_process() -> None:
    other = identity(settings={"name": "語彙", "corpus": {"a": 0.7, "b": 0.3}, "pieces": 5})
    assert other.fingerprint() == identity().fingerprint()
    assert identity().fingerprint().startswith(PINNED)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "upcycle"},
        {"revision": 2},
        {"settings": {"pieces": 6, "corpus": {"b": 0.3, "a": 0.7}, "name": "語彙"}},
        {"parents": (Parent(name="init", fingerprint="2" * 64),)},
        {"parents": ()},
        {"outside": {"starter:ja_text": "3" * 64}},
    ],
)
def test_everything_that_decides_the_result_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert identity(**changes).fingerprint() != identity().fingerprint()


def test_a_fingerprint_survives_the_way_through_the_file(tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_text(record("extend").model_dump_json(), encoding="utf-8")
    read = read_record(tmp_path)
    assert read == record("extend")
    assert read.identity.fingerprint() == read.fingerprint


def test_a_recipe_written_in_another_order_has_the_same_settings() -> None:
    head = "moyai: 1\nname: x\nbase: a/b\nstages:\n"
    first = parse_recipe(head + "  - pretrain: {corpus: {a: 1, b: 2}, tokens: 1e3}\n", where="x")
    second = parse_recipe(head + "  - pretrain: {tokens: 1000, corpus: {b: 2.0, a: 1.0}}\n", where="x")
    dumped = [canonical_json(recipe.stages[0][1].model_dump(mode="json", by_alias=True)) for recipe in (first, second)]
    assert dumped[0] == dumped[1]


@pytest.mark.parametrize(
    ("content", "said"), [(None, "has no record.json"), ("{}", "not a moyai record"), ("{", "not a moyai")]
)
def test_what_is_no_record(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / RECORD_NAME).write_text(content)
    with pytest.raises(InputFileError, match=said):
        read_record(tmp_path)


def test_only_finished_stages_of_a_run_count_and_in_order(tmp_path: Path) -> None:
    for directory, name in (("10-export", "export"), ("02-upcycle", "upcycle"), ("00-init", "init")):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / RECORD_NAME).write_text(record(name).model_dump_json(), encoding="utf-8")
    (tmp_path / "03-sft").mkdir()
    (tmp_path / "04-sft.partial").mkdir()
    assert list(records_of_run(tmp_path)) == ["init", "upcycle", "export"]


def test_the_identity_is_hashed_as_sha256_of_its_canonical_json() -> None:
    text = canonical_json(identity().model_dump())
    assert identity().fingerprint() == hashlib.sha256(text.encode()).hexdigest()
