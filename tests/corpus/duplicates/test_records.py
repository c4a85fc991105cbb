"""Records of many files are one list, in whatever order they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.duplicates.records import Records


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    directory = tmp_path_factory.mktemp("records")
    whole, paths = np.arange(3 * 12, dtype="<u4").reshape(12, 3), []
    for number, (start, stop) in enumerate([(0, 0), (0, 5), (5, 5), (5, 6), (6, 12), (12, 12)]):
        paths.append(directory / str(number))
        whole[start:stop].tofile(paths[-1])
    return Records(paths, 3)


@settings(deadline=None)
@given(st.lists(st.integers(0, 11), max_size=30))
def test_records_by_number(records: Records, numbers: list[int]) -> None:
    found = records.of(np.array(numbers, np.uint32))
    assert found.tolist() == [[3 * number, 3 * number + 1, 3 * number + 2] for number in numbers]


def test_each_file_is_mapped_once(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped, memmap = [], np.memmap
    monkeypatch.setattr(np, "memmap", lambda path, *rest: mapped.append(path.name) or memmap(path, *rest))
    records.of(np.array([11, 0, 5, 4, 7, 0], np.uint32))
    assert mapped == ["1", "3", "4"]
