"""The work of `prepare` as datatrove tasks: one worker is killed, and the result is that of a single machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from moyai.corpus.reading.documents import read_documents
from moyai.errors import BusyError, RecipeError, UserError
from moyai.progress import SilentProgress
from moyai.recipe.load import load_recipe
from moyai.recipe.sources import corpus_file
from moyai.run.cluster import PackParts, open_preparation
from moyai.run.lock import lock_directory
from moyai.run.runner import run_recipe
from tiny import write_tiny_checkpoint

_NUM_FILES = 8
_RECIPE = """
moyai: 1
name: spread
base: {root}/base
stages:
  - prepare: {{sources: {{ja: "{root}/ja-*.jsonl"}}, duplicates: {{near: 0.9}}, shard_bytes: 400000}}
"""
# As the guide shows it, with datatrove's executor for one machine.
_SCRIPT = """
import sys
from datatrove.executor import LocalPipelineExecutor
from moyai.run.cluster import CleanFiles, FindDuplicates, PackParts, open_preparation

if __name__ == "__main__":
    recipe, out, logs = sys.argv[1:]
    work = open_preparation(recipe, out)
    clean = LocalPipelineExecutor([CleanFiles(work)], tasks=8, workers=3, logging_dir=logs + "/clean")
    compare = LocalPipelineExecutor([FindDuplicates(work)], tasks=1, logging_dir=logs + "/compare", depends=clean)
    pack = LocalPipelineExecutor([PackParts(work)], tasks=2, workers=2, logging_dir=logs + "/pack", depends=compare)
    pack.run()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny_checkpoint(tmp_path / "base")
    texts = [document.text for document in read_documents(corpus_file("starter:ja_text"))]
    for number in range(_NUM_FILES):
        rows = [{"text": f"{number}-{again}。" + text} for again in range(6) for text in texts[:150]]
        (tmp_path / f"ja-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "spread.yaml").write_text(_RECIPE.format(root=tmp_path), encoding="utf-8")
    (tmp_path / "script.py").write_text(_SCRIPT, encoding="utf-8")
    return tmp_path


def run(root: Path, out: str, *, until: str | None = None) -> Path:
    recipe = load_recipe(str(root / "spread.yaml"))
    done = run_recipe(recipe, out_dir=root / out, until=until, cache_dir=root / "cache", progress=SilentProgress())
    return done[-1][0]


def start_script(root: Path) -> subprocess.Popen[bytes]:
    arguments = [root / "spread.yaml", root / "spread", root / "logs"]
    environment = {**os.environ, "MOYAI_CACHE": str(root / "cache")}
    with (root / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, root / "script.py", *arguments], env=environment, stdout=log, stderr=log, start_new_session=True
        )


def content(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != "record.json")
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def worker_in_a_file(root: Path) -> int | None:
    """A process that is in the middle of a file: its number stands in the name of the directory it writes."""
    for path in root.glob("spread/01-prepare.partial/resume/cleaned/*.partial-*"):
        number = int(path.name.rpartition("-")[2])
        if psutil.pid_exists(number):
            return number
    return None


def done_files(root: Path) -> dict[Path, tuple[int, int]]:
    """What says of each file that it is cleaned, with its place on the disk and its time."""
    found = root.glob("spread/01-prepare.partial/resume/cleaned/*[0-9]/counts.json")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found if ".partial" not in path.parent.name}


def test_a_killed_worker_costs_its_file_and_no_more(root: Path) -> None:
    run(root, "spread", until="init")
    script = start_script(root)
    try:
        for _ in range(3000):
            if (worker := worker_in_a_file(root)) is not None:
                os.kill(worker, signal.SIGKILL)
                break
            assert script.poll() is None, (root / "log").read_text(encoding="utf-8")
            time.sleep(0.02)
        else:
            pytest.fail("no worker was seen at work")
        for _ in range(3000):  # datatrove's pool waits for ever for a worker that was killed
            if done_files(root):
                break
            time.sleep(0.02)
    finally:
        os.killpg(script.pid, signal.SIGKILL)
        script.wait()
    assert not (root / "spread" / "01-prepare").exists()
    done = done_files(root)
    assert 0 < len(done) < _NUM_FILES
    again = start_script(root)
    assert again.wait(timeout=300) == 0, (root / "log").read_text(encoding="utf-8")
    assert len(done_files(root)) == _NUM_FILES
    assert done.items() <= done_files(root).items(), "what is done is not done again"
    assert content(run(root, "spread")) == content(run(root, "alone"))


def test_phases_out_of_order_are_told(root: Path) -> None:
    with pytest.raises(RecipeError, match="stage init is not done yet"):
        open_preparation(str(root / "spread.yaml"), root / "spread", cache_dir=root / "cache")
    run(root, "spread", until="init")
    work = open_preparation(str(root / "spread.yaml"), root / "spread", cache_dir=root / "cache")
    with pytest.raises(UserError, match=f"{_NUM_FILES} of {_NUM_FILES} files are not cleaned yet"):
        PackParts(work).run(None)
    run(root, "spread")
    with pytest.raises(RecipeError, match=r"prepare is done in .* already"):
        open_preparation(str(root / "spread.yaml"), root / "spread", cache_dir=root / "cache")
    with pytest.raises(RecipeError, match="only prepare is spread"):
        open_preparation(str(root / "spread.yaml"), root / "other", stage="init", cache_dir=root / "cache")


def test_work_of_other_settings_is_refused_and_stays(root: Path) -> None:
    run(root, "spread", until="init")
    work = open_preparation(str(root / "spread.yaml"), root / "spread", cache_dir=root / "cache")
    (work.directory / "finished").touch()
    changed = root / "changed.yaml"
    changed.write_text(_RECIPE.format(root=root).replace("400000", "500000"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"01-prepare\.partial was made of other settings or inputs"):
        open_preparation(str(changed), root / "spread", cache_dir=root / "cache")
    assert (work.directory / "finished").exists()
    run(root, "spread")
    with pytest.raises(RecipeError, match="01-prepare was made of other settings or inputs"):
        open_preparation(str(changed), root / "spread", cache_dir=root / "cache")


def test_a_directory_that_a_run_holds_is_not_opened(root: Path) -> None:
    run(root, "spread", until="init")
    with lock_directory(root / "spread"), pytest.raises(BusyError, match="holds"):
        open_preparation(str(root / "spread.yaml"), root / "spread", cache_dir=root / "cache")
