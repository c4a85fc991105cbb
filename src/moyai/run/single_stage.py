"""One stage on one model, for the verbs that do a single step: the result is a directory like a stage's of a run.

A checkpoint directory, on this machine or in the hub's cache, is read where it lies, it is not copied first.  The
content hashes that the record wants are computed while the stage works.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from moyai.checkpoint.disk import full_disk_told, replace_file
from moyai.checkpoint.sources import resolve_model
from moyai.errors import UserError
from moyai.progress import Progress
from moyai.recipe.recipe import Recipe, Step
from moyai.recipe.record import RECORD_NAME, Identity, Parent, Record, canonical_json, read_record
from moyai.recipe.sources import GgufModel, WheelModel, parse_model
from moyai.run.lock import lock_directory
from moyai.run.runner import run_steps, tidy, work
from moyai.stages.table import STAGES

_MARK_NAME = "work.json"
_RESULT_NAME = "result"


def run_single_stage(
    recipe: Recipe,
    *,
    out_dir: Path,
    cache_dir: Path,
    progress: Progress,
    extra_files: Mapping[str, bytes] | None = None,
) -> Record:
    """Run a recipe of one stage; its artifact becomes `out_dir`.

    The work is done in `.NAME.moyai` beside `out_dir`, where the same call goes on if it is cut short.

    Args:
        recipe: its base is the model and its one stage the work.
        out_dir: must not exist, or be empty.
        cache_dir: where downloads are kept.
        progress: where to tell how far it is.
        extra_files: name -> content of small files that lie in `out_dir` besides.

    Raises:
        BusyError: another process is at the same work.
        DiskSpaceError: the disk is full.
    """
    init, step = recipe.steps()
    source = parse_model(recipe.base)
    base_dir = None if isinstance(source, WheelModel | GgufModel) else resolve_model(source, cache_dir, progress)
    final = out_dir.absolute()
    work_dir = final.with_name(f".{final.name}.moyai")
    work_dir.mkdir(parents=True, exist_ok=True)
    with lock_directory(work_dir), full_disk_told(work_dir, f"{step.name} worked"):
        try:
            if base_dir is None:  # it has to be converted first
                ((base_dir, _),) = run_steps(
                    recipe, out_dir=work_dir, until=init.name, cache_dir=cache_dir, progress=progress
                )
            record = _work(init, step, base_dir, work_dir, cache_dir, progress)
            for name, content in (extra_files or {}).items():
                replace_file(work_dir / _RESULT_NAME / name, content)
            (work_dir / _RESULT_NAME).replace(final)
        except UserError:
            if not any(work_dir.rglob("*.safetensors*")):  # nothing that going on could use
                shutil.rmtree(work_dir)
            raise
    shutil.rmtree(work_dir)
    return record


def _work(
    init: Step, step: Step, base_dir: Path, work_dir: Path, cache_dir: Path, progress: Progress
) -> Record:
    settings = step.settings.model_dump(mode="json", by_alias=True)
    revision = STAGES[step.kind]().revision
    mark = canonical_json([revision, settings, str(base_dir.resolve()), _state(base_dir)])
    result_dir = _begin(work_dir, mark)
    if (result_dir / RECORD_NAME).exists():  # killed between the record and the rename
        record = read_record(result_dir)
    else:
        with ThreadPoolExecutor(1) as pool:
            identity = pool.submit(_identity, init, step, cache_dir)
            record = work(step, result_dir, {init.name: base_dir}, cache_dir, progress, identity.result)
    tidy(result_dir)
    return record


def _identity(init: Step, step: Step, cache_dir: Path) -> Identity:
    """The identity that the stage would have in a run of the same recipe."""
    base = _identity_of(init, (), cache_dir)
    return _identity_of(step, (Parent(name=init.name, fingerprint=base.fingerprint()),), cache_dir)


def _identity_of(step: Step, parents: tuple[Parent, ...], cache_dir: Path) -> Identity:
    stage = STAGES[step.kind]()
    return Identity(
        kind=step.kind,
        revision=stage.revision,
        settings=step.settings.model_dump(mode="json", by_alias=True),
        parents=parents,
        outside=stage.outside(step.settings, cache_dir),
    )


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
