"""Seconds and memory of a stage, over every part of a run that was cut short."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from moyai.run import clock
from moyai.run.clock import StageClock, forget_clock


def beats(monkeypatch: pytest.MonkeyPatch, directory: Path, count: int) -> StageClock:
    """A clock that beat `count` times and then lost its process."""
    monkeypatch.setattr(clock, "_BEAT_SECONDS", 0.01)
    made = StageClock(directory)
    done = 0
    seen = json.loads(made.path.read_text())["seconds"]
    while done < count:
        time.sleep(0.002)
        now = json.loads(made.path.read_text())["seconds"]
        done, seen = done + (now > seen), now
    made.pause()
    return made


def test_seconds_and_parts_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = beats(monkeypatch, tmp_path, 2)
    kept = json.loads(first.path.read_text())["seconds"]
    assert kept > 0
    second = beats(monkeypatch, tmp_path, 1)
    assert (first.parts, second.parts) == (1, 2)
    assert second.seconds_before == kept
    assert second.seconds > kept
    assert second.started_at == first.started_at
    third = StageClock(tmp_path)
    third.pause()
    assert third.parts == 3
    assert third.seconds_before > kept


def test_the_largest_memory_of_any_part_counts(tmp_path: Path) -> None:
    first = StageClock(tmp_path)
    block = np.ones(60_000_000, dtype=np.uint8)
    first._beat()
    first.pause()
    size = first.peak_bytes
    del block
    second = StageClock(tmp_path)
    second.pause()
    assert second.peak_bytes >= size > 60_000_000


def test_a_clock_can_be_forgotten(tmp_path: Path) -> None:
    made = StageClock(tmp_path)
    made.pause()
    made.path.with_name(f"{made.path.name}.partial").write_text("{")
    forget_clock(tmp_path)
    assert list(tmp_path.iterdir()) == []
    forget_clock(tmp_path)
