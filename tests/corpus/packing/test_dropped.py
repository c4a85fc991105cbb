"""Samples of what was dropped: the same ones however the corpus was cut into parts, and not only the first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.corpus.packing.dropped import DroppedSamples


def sampled(places: list[int], *, limit: int = 5, seed: int = 0) -> DroppedSamples:
    samples = DroppedSamples(limit, seed)
    for place in places:
        samples.add("too short", "ja", "a.jsonl", place, id=f"id {place}", text=f"舟{place}\n綱")
    return samples


@given(order=st.permutations(range(40)), cut=st.integers(0, 40))
def test_parts_together_give_what_the_whole_gives(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cut: int
) -> None:
    directory = tmp_path_factory.mktemp("samples")
    joined = DroppedSamples(5, 0)
    for number, part in enumerate((order[:cut], order[cut:])):
        sampled(part).write_file(directory / str(number))
        joined.add_file(directory / str(number))
    whole = sampled(list(range(40)))
    assert joined.rows("too short") == whole.rows("too short")
    assert len(whole.rows("too short")) == 5
    assert [row["place"] for row in whole.rows("too short")] != [0, 1, 2, 3, 4]


def test_another_seed_draws_others() -> None:
    assert sampled(list(range(40))).rows("too short") != sampled(list(range(40)), seed=1).rows("too short")


def test_a_file_for_each_reason_with_the_beginning_of_the_text(tmp_path: Path) -> None:
    samples = sampled([3])
    samples.add("not JSON", "ja", "a.jsonl", 0, problem="a.jsonl line 7 is not JSON")
    samples.add("near duplicate", "en", "b.txt", 1, id="b", like={"file": "a"}, text="x" * 9_999)
    samples.write_reasons(tmp_path / "dropped")
    files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "dropped").iterdir()}
    assert sorted(files) == ["near-duplicate.jsonl", "not-JSON.jsonl", "too-short.jsonl"]
    assert files["too-short.jsonl"]["text"] == "舟3\n綱"
    assert files["not-JSON.jsonl"]["problem"] == "a.jsonl line 7 is not JSON"
    assert (len(files["near-duplicate.jsonl"]["text"]), files["near-duplicate.jsonl"]["characters"]) == (5_000, 9_999)
