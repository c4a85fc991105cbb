"""One stage on one model, for the verbs that do a single step: the result is a directory like a stage's of a run.

A checkpoint directory on this machine is read where it lies, it is not copied first.  Its content hash, which the
record wants, is computed while the stage works.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from moyai.checkpoint.disk import full_disk_told
from moyai.checkpoint.sources import source_sha256
from moyai.progress import Progress
from moyai.recipe.recipe import Recipe, Step
from moyai.recipe.record import RECORD_NAME, Identity, Parent, Record, canonical_json, read_record
from moyai.recipe.sources import LocalModel, parse_model
from moyai.run.lock import lock_directory
from moyai.run.runner import run_steps, tidy, work
from moyai.stages.table import STAGES

_MARK_NAME = "work.json"
_RESULT_NAME = "result"


def run_single_stage(recipe: Recipe, *, out_dir: Path, cache_dir: Path, progress: Progress) -> Record:
    """Run a recipe of one stage; its artifact becomes `out_dir`.

    The work is done in `.NAME.moyai` beside `out_dir`, where the same call goes on if it is cut short.

    Args:
        recipe: its base is the model and its one stage the work.
        out_dir: must not exist, or be empty.
        cache_dir: where downloads are kept.
        progress: where to tell how far it is.

    Raises:
        BusyError: another process is at the same work.
        DiskSpaceError: the disk is full.
    """
    init, step = recipe.steps()
    final = out_dir.absolute()
    work_dir = final.with_name(f".{final.name}.moyai")
    work_dir.mkdir(parents=True, exist_ok=True)
    with lock_directory(work_dir), full_disk_told(work_dir, f"{step.name} worked"):
        source = parse_model(recipe.base)
        if isinstance(source, LocalModel):
            record = _on_directory(init, step, source, work_dir, cache_dir, progress)
        else:
            ((base_dir, base),) = run_steps(
                recipe, out_dir=work_dir, until=init.name, cache_dir=cache_dir, progress=progress
            )
            record = _work(step, base_dir, lambda: base.fingerprint, work_dir, cache_dir, progress)
        (work_dir / _RESULT_NAME).replace(final)
    shutil.rmtree(work_dir)
    return record


def _on_directory(
    init: Step, step: Step, source: LocalModel, work_dir: Path, cache_dir: Path, progress: Progress
) -> Record:
    with ThreadPoolExecutor(1) as pool:
        content = pool.submit(source_sha256, source, cache_dir)

        def fingerprint() -> str:
            """The one that the `init` stage of a recipe with this base would have."""
            settings = init.settings.model_dump(mode="json", by_alias=True)
            outside = {settings["base"]: content.result()}
            revision = STAGES["init"]().revision
            return Identity(
                kind="init", revision=revision, settings=settings, parents=(), outside=outside
            ).fingerprint()

        return _work(step, source.path, fingerprint, work_dir, cache_dir, progress)


def _work(
    step: Step, base_dir: Path, fingerprint: Callable[[], str], work_dir: Path, cache_dir: Path, progress: Progress
) -> Record:
    stage = STAGES[step.kind]()
    settings = step.settings.model_dump(mode="json", by_alias=True)
    outside = stage.outside(step.settings, cache_dir)

    def identity() -> Identity:
        parents = (Parent(name=step.inputs[0], fingerprint=fingerprint()),)
        return Identity(
            kind=step.kind, revision=stage.revision, settings=settings, parents=parents, outside=outside
        )

    mark = canonical_json([stage.revision, settings, outside, str(base_dir.resolve()), _state(base_dir)])
    result_dir = _begin(work_dir, mark)
    if (result_dir / RECORD_NAME).exists():  # killed between the record and the rename
        record = read_record(result_dir)
    else:
        record = work(step, result_dir, {step.inputs[0]: base_dir}, cache_dir, progress, identity)
    tidy(result_dir)
    return record


def _begin(work_dir: Path, mark: str) -> Path:
    """The directory to work in: as an interrupted call for the same work has left it, otherwise empty."""
    result_dir, mark_path = work_dir / _RESULT_NAME, work_dir / _MARK_NAME
    if not mark_path.is_file() or mark_path.read_text(encoding="utf-8") != mark:
        if result_dir.exists():
            shutil.rmtree(result_dir)
        mark_path.write_text(mark, encoding="utf-8")
    result_dir.mkdir(exist_ok=True)
    return result_dir


def _state(directory: Path) -> str:
    """What changes when a file of `directory` is changed: sizes and times, hashed."""
    files = sorted(path for path in directory.iterdir() if path.is_file())
    states = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return sha256(json.dumps(states).encode()).hexdigest()
