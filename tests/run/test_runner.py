"""What is done is not done again, and a run that was cut short anywhere goes on properly."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from moyai.errors import DiskSpaceError, FailedError, RecipeError
from moyai.recipe.load import load_recipe
from moyai.recipe.record import RECORD_NAME, Record, read_record, records_of_run
from moyai.run import clock, runner
from moyai.stages.contract import StageContext
from run.conftest import StandIns

ALL = ["init", "extend", "upcycle", "pretrain", "export"]
DIRECTORIES = ["00-init", "01-extend", "02-upcycle", "03-pretrain", "04-export"]
BESIDE = [".moyai-lock", "recipe.yaml"]


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


def assert_whole(stand_ins: StandIns) -> None:
    """Nothing but finished stages, and in each nothing but its result and its record."""
    assert stand_ins.names == BESIDE[:1] + DIRECTORIES + BESIDE[1:]
    for directory in DIRECTORIES:
        found = sorted(path.name for path in (stand_ins.out_dir / directory).iterdir())
        assert found == ["half.txt", RECORD_NAME, "result.txt"]
    assert (stand_ins.out_dir / "04-export" / "result.txt").read_text() == "export(upcycle(extend(init())))"


def test_a_run_leaves_an_artifact_and_a_record_for_each_stage(stand_ins: StandIns) -> None:
    records = stand_ins.run()
    assert stand_ins.ran == list(records) == ALL
    assert_whole(stand_ins)
    assert list(records_of_run(stand_ins.out_dir)) == ALL
    for name, record in records.items():
        assert record.identity.fingerprint() == record.fingerprint
        assert [parent.fingerprint for parent in record.identity.parents] == [
            records[parent.name].fingerprint for parent in record.identity.parents
        ]
        assert record.results == {"kind": name}
        assert record.resumed == 0
        assert record.seconds >= 0
        assert record.peak_bytes > 1_000_000
        assert {"python", "torch", "transformers", "tokenizers"} <= set(record.versions)


def test_nothing_is_done_twice(stand_ins: StandIns) -> None:
    first = stand_ins.run()
    again = stand_ins.run()
    assert stand_ins.ran == []
    assert again == first


def test_until_stops_behind_a_stage_and_a_later_run_goes_on(stand_ins: StandIns) -> None:
    assert list(stand_ins.run(until="upcycle")) == ALL[:3]
    assert list(stand_ins.run()) == ALL
    assert stand_ins.ran == ALL[3:]
    with pytest.raises(RecipeError, match="--until upcicle"):
        stand_ins.run(until="upcicle")


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("stages.extend.pieces=6", ["extend", "upcycle", "pretrain", "export"]),
        ("stages.upcycle.seed=1", ["upcycle", "pretrain", "export"]),
        ("stages.pretrain.tokens=200", ["pretrain"]),
        ("stages.export.type=f32", ["export"]),
        ("base=owner/other", ALL),
        ("card.title=other", []),
        ("description=other", []),
    ],
)
def test_a_changed_setting_does_again_only_what_depends_on_it(
    stand_ins: StandIns, override: str, again: list[str]
) -> None:
    before = stand_ins.run()
    after = stand_ins.run(override)
    assert stand_ins.ran == again
    assert [name for name in ALL if before[name].fingerprint != after[name].fingerprint] == again
    assert_whole(stand_ins)


def test_a_changed_source_does_again_what_reads_it(stand_ins: StandIns) -> None:
    stand_ins.run()
    stand_ins.hashes["pretrain"] = "2"
    stand_ins.run()
    assert stand_ins.ran == ["pretrain"]


@pytest.mark.parametrize("kind", ALL)
def test_killed_in_the_middle_of_a_stage(stand_ins: StandIns, kind: str) -> None:
    def die(settings: Any, context: StageContext) -> None:
        raise Killed

    stand_ins.hooks[kind] = die
    with pytest.raises(Killed):
        stand_ins.run()
    number = ALL.index(kind)
    assert stand_ins.names == BESIDE[:1] + DIRECTORIES[:number] + [f"{DIRECTORIES[number]}.partial"] + BESIDE[1:]

    def goes_on(settings: Any, context: StageContext) -> None:
        assert (context.out_dir / "half.txt").exists(), "what was there is found again"

    stand_ins.hooks[kind] = goes_on
    records = stand_ins.run()
    assert stand_ins.ran == ALL[number:]
    assert_whole(stand_ins)
    assert records[kind].resumed == 1


def test_what_a_stage_with_other_settings_left_is_not_taken_over(stand_ins: StandIns) -> None:
    def die(settings: Any, context: StageContext) -> None:
        (context.out_dir / "leftover.txt").write_text("of five pieces")
        raise Killed

    stand_ins.hooks["extend"] = die
    with pytest.raises(Killed):
        stand_ins.run()
    stand_ins.hooks.clear()
    records = stand_ins.run("stages.extend.pieces=6")
    assert records["extend"].resumed == 0
    assert_whole(stand_ins)


@pytest.mark.parametrize("name", ["_write_record", "_publish"])
def test_killed_before_the_record_or_before_the_rename(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stand_ins.run(until="extend")
    with monkeypatch.context() as patch:
        patch.setattr(runner, name, _die)
        with pytest.raises(Killed):
            stand_ins.run()
    assert (stand_ins.out_dir / "02-upcycle.partial").is_dir()
    assert not (stand_ins.out_dir / "02-upcycle").exists(), "nothing bears the final name before all is there"
    records = stand_ins.run()
    done_again = ["upcycle"] if name == "_write_record" else []
    assert stand_ins.ran == [*done_again, "pretrain", "export"]
    assert_whole(stand_ins)
    assert records["upcycle"].fingerprint == read_record(stand_ins.out_dir / "02-upcycle").fingerprint


def _die(*_: object) -> None:
    raise Killed


def test_killed_while_the_record_is_written(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def torn(file: int) -> None:
        os.ftruncate(file, 10)
        raise Killed

    monkeypatch.setattr(os, "fsync", torn)
    with pytest.raises(Killed):
        stand_ins.run()
    monkeypatch.setattr(os, "fsync", real)
    stand_ins.run()
    assert stand_ins.ran == ALL
    for directory in DIRECTORIES:
        (stand_ins.out_dir / directory / f"{RECORD_NAME}.partial").unlink(missing_ok=True)
    assert_whole(stand_ins)


@pytest.mark.parametrize("survivor", [RECORD_NAME, "result.txt"])
def test_killed_while_an_outdated_stage_is_removed(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch, survivor: str
) -> None:
    """Whichever files the removal left, they count for nothing, even when the old settings come back."""
    stand_ins.run()

    def torn(directory: Path) -> None:
        for path in list(Path(directory).iterdir()):
            if path.name != survivor:
                path.unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", torn)
        with pytest.raises(Killed):
            stand_ins.run("stages.pretrain.tokens=200")
    stand_ins.run()
    assert stand_ins.ran == ["pretrain"]
    assert_whole(stand_ins)


def test_stages_that_the_recipe_has_no_longer_go_and_what_is_not_ours_stays(stand_ins: StandIns) -> None:
    stand_ins.run()
    notes = stand_ins.out_dir / "05-notes"
    notes.mkdir()
    (notes / "mine.txt").write_text("mine")
    (stand_ins.out_dir / "06-file").write_text("mine too")
    stand_ins.run("stages.pretrain.name=second")
    assert stand_ins.ran == ["pretrain"]
    assert stand_ins.names == sorted(
        [*BESIDE, "00-init", "01-extend", "02-upcycle", "03-second", "04-export", "05-notes", "06-file"]
    )
    assert (notes / "mine.txt").read_text() == "mine"


def test_a_stage_without_its_record_is_not_done(stand_ins: StandIns) -> None:
    stand_ins.run()
    (stand_ins.out_dir / "03-pretrain" / RECORD_NAME).unlink()
    stand_ins.run()
    assert stand_ins.ran == ["pretrain"]
    assert_whole(stand_ins)


def test_a_stage_that_fails_leaves_nothing_under_its_name_and_can_be_tried_again(stand_ins: StandIns) -> None:
    def fail(settings: Any, context: StageContext) -> None:
        raise FailedError("no luck")

    stand_ins.hooks["pretrain"] = fail
    with pytest.raises(FailedError, match="no luck"):
        stand_ins.run()
    assert not (stand_ins.out_dir / "03-pretrain").exists()
    stand_ins.hooks.clear()
    stand_ins.run()
    assert stand_ins.ran == ["pretrain", "export"]


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_in_a_stage_is_one_sentence_and_leaves_no_artifact(stand_ins: StandIns) -> None:
    stand_ins.hooks["upcycle"] = no_space
    with pytest.raises(DiskSpaceError) as caught:
        stand_ins.run()
    assert caught.value.exit_code == 2
    assert str(stand_ins.out_dir) in str(caught.value)
    assert "run" in caught.value.hint
    assert "02-upcycle" not in stand_ins.names
    stand_ins.hooks.clear()
    stand_ins.run()
    assert stand_ins.ran == ["upcycle", "pretrain", "export"]
    assert_whole(stand_ins)


@pytest.mark.parametrize("where", [(runner, "_write_record"), (clock.StageClock, "_beat")])
def test_a_full_disk_around_a_stage(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch, where: tuple[object, str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(*where, no_space)
        with pytest.raises(DiskSpaceError):
            stand_ins.run()
    assert "00-init" not in stand_ins.names
    stand_ins.run()
    assert_whole(stand_ins)


def test_another_error_of_the_system_is_not_called_a_full_disk(stand_ins: StandIns) -> None:
    def refuse(settings: Any, context: StageContext) -> None:
        raise PermissionError(errno.EACCES, "no")

    stand_ins.hooks["extend"] = refuse
    with pytest.raises(PermissionError):
        stand_ins.run()


def test_the_recipe_beside_the_run_gives_the_same_run_again(stand_ins: StandIns) -> None:
    first = stand_ins.run("stages.extend.pieces=7", "card.title=舫い")
    again = load_recipe(str(stand_ins.out_dir / "recipe.yaml"))
    assert [step.settings for step in again.steps()][1].pieces == 7
    assert again.card.title == "舫い"
    assert {step.name for step in again.steps()} == set(first)
    data = yaml.safe_load((stand_ins.out_dir / "recipe.yaml").read_text(encoding="utf-8"))
    assert data["stages"][3] == {"export": {"from": "upcycle"}}


def test_no_secret_of_the_environment_enters_a_record(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    stand_ins.run()
    for path in stand_ins.out_dir.rglob("*"):
        assert path.is_dir() or b"hf_verysecret" not in path.read_bytes()
    assert json.loads((stand_ins.out_dir / "00-init" / RECORD_NAME).read_bytes())["moyai"]


def test_a_record_is_what_the_run_gave_back(stand_ins: StandIns) -> None:
    records = stand_ins.run()
    for directory, name in zip(DIRECTORIES, ALL, strict=True):
        read: Record = read_record(stand_ins.out_dir / directory)
        assert read == records[name]
