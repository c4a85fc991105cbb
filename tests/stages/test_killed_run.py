"""`kill -9` for real: a run that is killed again and again ends with the same bytes as an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import moyai
from moyai.recipe.record import read_record
from stages.tiny_route import NAMES, outcome, stage_dirs, write_tiny_route

_PROGRAM = "import sys; from moyai.cli.main import main; sys.exit(main())"
# In these stages it is killed, a random moment after it said that the stage begins or goes on.
_KILLED_IN = ["extend", "warm-up", "warm-up", "pretrain", "sft", "evaluate", "small"]


def start(recipe: Path, out_dir: Path) -> subprocess.Popen[str]:
    # One thread: sums of floats do not depend on how the work was shared out.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
    environment["PYTHONPATH"] = str(Path(moyai.__file__).parents[1])
    environment["MOYAI_CACHE"] = str(out_dir.parent / "cache")
    words = [sys.executable, "-c", _PROGRAM, "run", str(recipe), "--out", str(out_dir)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(recipe: Path, out_dir: Path) -> str:
    with start(recipe, out_dir) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    return out + err


def kill_in(stage: str, after_seconds: float, recipe: Path, out_dir: Path) -> bool:
    """Start the run and kill it in `stage`; False if it came to its end before."""
    with start(recipe, out_dir) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if f"{stage}: started" in line or f"{stage}: going on" in line:
                time.sleep(after_seconds)
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), "".join(said)
    return process.returncode != 0


def test_a_run_killed_again_and_again_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    recipe = write_tiny_route(tmp_path / "route", tokens=4096)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(recipe, whole)
    moments = random.Random(20)
    kills = 0
    for stage in _KILLED_IN:
        limit = read_record(stage_dirs(whole)[stage]).seconds
        kills += kill_in(stage, moments.uniform(0.0, 0.8 * limit), recipe, cut)
        unfinished = [path for name, path in stage_dirs(cut).items() if not (path / "record.json").exists()]
        assert all(path.name.endswith(".partial") for path in unfinished)
    assert kills >= 4
    finish(recipe, cut)
    expected, found = outcome(whole), outcome(cut)
    assert list(stage_dirs(cut)) == NAMES
    assert list(found) == list(expected)
    for place, content in expected.items():
        assert found[place] == content, place
    resumed = {name: read_record(path).resumed for name, path in stage_dirs(cut).items()}
    assert sum(resumed.values()) >= 3, f"the kills fell between stages: {resumed}"
    said = finish(recipe, cut)
    assert said.count("done before") == len(NAMES), "and then there is nothing left to do"
