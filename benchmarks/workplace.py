"""Where benchmarks work: scratch space, the programs, environments of the peers, random models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# What each peer's environment is made of; `peers/NAME.txt` holds the version of everything that comes with it.
PEERS = {"mergekit": ("mergekit",), "transformers4": ("transformers", "torch", "sentencepiece", "protobuf")}
# Nothing is asked of a hub, and progress bars would cost time.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Workplace:
    """A directory for models, outputs and environments, on the disk that is measured."""

    scratch: Path

    @property
    def python(self) -> str:
        """The Python that moyai is installed in."""
        return sys.executable

    @property
    def moyai(self) -> str:
        """The program."""
        return str(Path(sys.executable).with_name("moyai"))

    @property
    def log(self) -> Path:
        """Takes the output of measured commands."""
        return self.scratch / "log.txt"

    def out(self, name: str) -> Path:
        """An output directory, empty and not there yet."""
        path = self.scratch / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        return path

    def model(self, size: str, seed: int = 1) -> Path:
        """A random model, made if it is not there."""
        path = self.scratch / "models" / f"{size}-{seed}"
        if not (path / "config.json").exists():
            shutil.rmtree(path, ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.call([self.python, "-m", "benchmarks.programs.make_model", size, str(seed), str(path)])
        return path

    def remove_model(self, size: str, seed: int = 1) -> None:
        """Free the space of a random model."""
        shutil.rmtree(self.scratch / "models" / f"{size}-{seed}", ignore_errors=True)

    def peer(self, name: str) -> Path:
        """The programs' directory of a peer's virtual environment, made if it is not there as `peers/NAME.txt` says."""
        constraints = ROOT / "benchmarks" / "peers" / f"{name}.txt"
        directory = self.scratch / "peers" / name
        mark = directory / "installed.txt"
        if not mark.exists() or mark.read_bytes() != constraints.read_bytes():
            print(f"  setting up {name}", flush=True)
            venv.create(directory, clear=True, with_pip=True)
            pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--constraint", str(constraints)]
            self.call([*pip, *PEERS[name]])
            mark.write_bytes(constraints.read_bytes())
        return directory / "bin"

    def call(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run a command that is not measured.

        Raises:
            CalledProcessError: it failed; the log says why.
        """
        with self.log.open("ab") as log:
            given = {**os.environ, **OFFLINE, **(environment or {})}
            subprocess.run(command, check=True, cwd=ROOT, stdout=log, stderr=log, env=given)

    def ask(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Any:
        """Run a program that prints one line of JSON last, and read it.

        Raises:
            CalledProcessError: it failed; the log says why.
        """
        with self.log.open("ab") as log:
            given = {**os.environ, **OFFLINE, **(environment or {})}
            done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, env=given)
        return json.loads(done.stdout.splitlines()[-1])
