"""Running a recipe: do what is missing, stage by stage, and leave a record beside every result."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import yaml

import moyai
from moyai.checkpoint.disk import full_disk_told
from moyai.errors import RecipeError
from moyai.progress import Progress
from moyai.recipe.architecture import read_architecture
from moyai.recipe.recipe import Recipe, Step
from moyai.recipe.record import RECORD_NAME, Identity, Parent, Record, read_record
from moyai.run.clock import StageClock, forget_clock
from moyai.run.lock import lock_directory
from moyai.run.memory import give_back_freed_memory
from moyai.stages.contract import RESUME_NAME, Stage, StageContext
from moyai.stages.table import STAGES

_IDENTITY_NAME = ".moyai-identity.json"
_VERSIONS_OF = ("torch", "transformers", "tokenizers", "numpy", "gguf", "xllamacpp")


def run_recipe(
    recipe: Recipe, *, out_dir: Path, until: str | None, cache_dir: Path, progress: Progress
) -> list[tuple[Path, Record]]:
    """Run a recipe into `out_dir`; what is done already is not done again.

    Raises:
        BusyError: another run holds the directory.
        DiskSpaceError: the disk cannot hold what the run would write.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with lock_directory(out_dir):
        write_recipe(recipe, out_dir)
        return run_steps(recipe, out_dir=out_dir, until=until, cache_dir=cache_dir, progress=progress)


def run_steps(
    recipe: Recipe, *, out_dir: Path, until: str | None, cache_dir: Path, progress: Progress
) -> list[tuple[Path, Record]]:
    """Run the recipe's steps into `out_dir`, which the caller holds; returns each artifact with its record."""
    steps = _steps_until(recipe, until)
    _remove_stale(out_dir, {f"{number:02d}-{step.name}" for number, step in enumerate(recipe.steps())}, progress)
    finished: dict[str, tuple[Path, Record]] = {}
    for number, step in enumerate(steps):
        stage_dir = out_dir / f"{number:02d}-{step.name}"
        identity = _identity(step, STAGES[step.kind](), finished, cache_dir)
        record = _finished(stage_dir, identity, progress)
        if record is None:
            inputs = {name: finished[name][0] for name in step.inputs}
            with full_disk_told(out_dir, f"stage {step.name} worked"):
                record = _run_step(step, stage_dir, identity, inputs, cache_dir, progress)
        else:
            progress.note(f"{step.name}: done before ({record.seconds:.0f} s)")
        finished[step.name] = (stage_dir, record)
        if step.kind == "init":
            _check_architecture(recipe, stage_dir)
    return list(finished.values())


def open_step(recipe: Recipe, name: str, *, out_dir: Path, cache_dir: Path, progress: Progress) -> tuple[Step, StageContext]:
    """The step called `name` and the place of its unfinished work, for whoever does a part of it from outside.

    `run_recipe` goes on from there.

    Raises:
        RecipeError: there is no such step, one before it is not done yet, it is done itself, or what is there was made
            of other settings or inputs.
        BusyError: a run holds the directory.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with lock_directory(out_dir):
        return _open_step(recipe, name, out_dir, cache_dir, progress)


def _open_step(recipe: Recipe, name: str, out_dir: Path, cache_dir: Path, progress: Progress) -> tuple[Step, StageContext]:
    *before, step = _steps_until(recipe, name)
    finished: dict[str, tuple[Path, Record]] = {}
    for number, earlier in enumerate(before):
        stage_dir = out_dir / f"{number:02d}-{earlier.name}"
        identity = _identity(earlier, STAGES[earlier.kind](), finished, cache_dir)
        record = read_record(stage_dir) if (stage_dir / RECORD_NAME).exists() else None
        if record is None or record.fingerprint != identity.fingerprint():
            raise RecipeError(
                f"stage {earlier.name} is not done yet in {out_dir}",
                hint=f"moyai run RECIPE --out {out_dir} --until {before[-1].name}",
            )
        finished[earlier.name] = (stage_dir, record)
    stage_dir = out_dir / f"{len(before):02d}-{step.name}"
    identity = _identity(step, STAGES[step.kind](), finished, cache_dir)
    for directory in (stage_dir, _partial_of(stage_dir)):
        there = _identity_of(directory)
        if there not in (None, identity.fingerprint()):
            raise RecipeError(
                f"{directory} was made of other settings or inputs than the recipe's",
                hint="give the recipe that it was made by, or remove the directory",
            )
        if (directory / RECORD_NAME).exists():
            raise RecipeError(f"stage {step.name} is done in {out_dir} already")
    inputs = {name: finished[name][0] for name in step.inputs}
    return step, StageContext(_partial(stage_dir, identity), inputs, cache_dir, progress)


def write_recipe(recipe: Recipe, out_dir: Path) -> None:
    """Write the recipe as it was resolved to `recipe.yaml`."""
    data = recipe.model_dump(mode="json", exclude={"stages"}, exclude_none=True)
    data["stages"] = [
        {kind: settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)} for kind, settings in recipe.stages
    ]
    partial = out_dir / "recipe.yaml.partial"
    partial.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    partial.replace(out_dir / "recipe.yaml")


def _steps_until(recipe: Recipe, until: str | None) -> tuple[Step, ...]:
    steps = recipe.steps()
    if until is None:
        return steps
    names = [step.name for step in steps]
    if until not in names:
        raise RecipeError(f"--until {until}: the recipe has no such stage", hint=f"its stages are {', '.join(names)}")
    return steps[: names.index(until) + 1]


def _remove_stale(out_dir: Path, wanted: set[str], progress: Progress) -> None:
    """Remove stages that an earlier form of the recipe left under numbers or names that it no longer has."""
    for stage_dir in sorted(out_dir.glob("[0-9][0-9]-*")):
        ours = any((stage_dir / mark).exists() for mark in (RECORD_NAME, _IDENTITY_NAME))
        if ours and stage_dir.name.removesuffix(".partial") not in wanted:
            progress.note(f"{stage_dir.name}: the recipe has it no longer, so it is removed")
            _remove(stage_dir)


def _check_architecture(recipe: Recipe, base_dir: Path) -> None:
    """A recipe that states its base's dimensions is planned by them, so they must be true."""
    if recipe.architecture is None:
        return
    stated, found = recipe.architecture.model_dump(), read_architecture(base_dir).model_dump()
    wrong = [f"{key} is {found[key]}, not {stated[key]}" for key in found if not _same(found[key], stated[key])]
    if wrong:
        raise RecipeError(
            f"recipe {recipe.name} states another architecture than its base has: {'; '.join(wrong)}",
            hint="correct `architecture:` in the recipe",
        )


def _same(first: object, second: object) -> bool:
    both_real = isinstance(first, float) and isinstance(second, float)
    return math.isclose(first, second, rel_tol=1e-6) if both_real else first == second  # type: ignore[arg-type]


def _identity(
    step: Step, stage: Stage, finished: dict[str, tuple[Path, Record]], cache_dir: Path
) -> Identity:
    return Identity(
        kind=step.kind,
        revision=stage.revision,
        settings=step.settings.model_dump(mode="json", by_alias=True),
        parents=tuple(Parent(name=name, fingerprint=finished[name][1].fingerprint) for name in step.inputs),
        outside=stage.outside(step.settings, cache_dir),
    )


def _finished(stage_dir: Path, identity: Identity, progress: Progress) -> Record | None:
    """The record of a finished stage, if it is of this very identity; anything else of that name is removed."""
    if (stage_dir / RECORD_NAME).exists():
        record = read_record(stage_dir)
        if record.fingerprint == identity.fingerprint():
            return record
        progress.note(f"{record.name}: its settings or inputs have changed, so it is made anew")
    if stage_dir.exists():
        _remove(stage_dir)
    return None


def _remove(directory: Path) -> None:
    """Remove a directory, its marks first: what a kill leaves of it then counts for nothing."""
    for mark in (RECORD_NAME, _IDENTITY_NAME):
        (directory / mark).unlink(missing_ok=True)
    shutil.rmtree(directory)


def _run_step(
    step: Step, stage_dir: Path, identity: Identity, inputs: dict[str, Path], cache_dir: Path, progress: Progress
) -> Record:
    partial_dir = _partial(stage_dir, identity)
    if (partial_dir / RECORD_NAME).exists():  # killed between the record and the rename
        return _publish(partial_dir, stage_dir)
    record = work(step, partial_dir, inputs, cache_dir, progress, lambda: identity)
    _publish(partial_dir, stage_dir)
    return record


def work(
    step: Step,
    partial_dir: Path,
    inputs: dict[str, Path],
    cache_dir: Path,
    progress: Progress,
    identity_of_work: Callable[[], Identity],
) -> Record:
    """Let a stage work in `partial_dir` and write its record there; `identity_of_work` is asked for at the end."""
    clock = StageClock(partial_dir)
    progress.note(f"{step.name}: started" if clock.parts == 1 else f"{step.name}: going on (part {clock.parts})")
    context = StageContext(partial_dir, inputs, cache_dir, progress)
    try:
        results = STAGES[step.kind]().run(step.settings, context)
    finally:
        clock.pause()
    give_back_freed_memory()
    identity = identity_of_work()
    record = Record(
        moyai=moyai.__version__,
        name=step.name,
        identity=identity,
        fingerprint=identity.fingerprint(),
        results=results,
        versions={name: version(name) for name in _VERSIONS_OF} | {"python": platform.python_version()},
        machine=_machine(),
        started=clock.started_at,
        seconds=round(clock.seconds, 2),
        peak_bytes=clock.peak_bytes,
        resumed=clock.parts - 1,
    )
    _write_record(partial_dir, record)
    progress.note(f"{step.name}: done in {record.seconds:.0f} s, at most {record.peak_bytes / 1e9:.1f} GB of memory")
    return record


def _partial(stage_dir: Path, identity: Identity) -> Path:
    """The stage's `.partial` directory: kept if it is of the same identity, otherwise begun anew."""
    partial_dir = _partial_of(stage_dir)
    mark = partial_dir / _IDENTITY_NAME
    if partial_dir.exists() and _identity_of(partial_dir) != identity.fingerprint():
        _remove(partial_dir)
    if not partial_dir.exists():
        partial_dir.mkdir(parents=True)
        mark.write_text(identity.fingerprint())
    return partial_dir


def _partial_of(stage_dir: Path) -> Path:
    return stage_dir.with_name(stage_dir.name + ".partial")


def _identity_of(directory: Path) -> str | None:
    if (directory / RECORD_NAME).exists():
        return read_record(directory).fingerprint
    mark = directory / _IDENTITY_NAME
    return mark.read_text() if mark.exists() else None


def _write_record(partial_dir: Path, record: Record) -> None:
    text = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, indent=1)
    partial = partial_dir / f"{RECORD_NAME}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(partial_dir / RECORD_NAME)


def _publish(partial_dir: Path, stage_dir: Path) -> Record:
    """Give a stage whose record is written its final name."""
    tidy(partial_dir)
    partial_dir.replace(stage_dir)
    return read_record(stage_dir)


def tidy(partial_dir: Path) -> None:
    """Remove what only a resumed run would need."""
    if (partial_dir / RESUME_NAME).exists():
        shutil.rmtree(partial_dir / RESUME_NAME)
    forget_clock(partial_dir)
    (partial_dir / _IDENTITY_NAME).unlink(missing_ok=True)


def _machine() -> dict[str, object]:
    return {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "system": platform.platform()}
