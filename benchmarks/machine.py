"""What a result has to say of the machine it was measured on."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.workplace import ROOT

_VERSIONS_OF = ("moyai", "torch", "transformers", "numpy", "safetensors")


def describe_machine(scratch: Path) -> dict[str, Any]:
    """Processor, memory, file system of `scratch`, date, versions and commit."""
    return {
        "cpu": _first(Path("/proc/cpuinfo"), r"model name\s*: (.+)") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(scratch),
        "load_before": round(os.getloadavg()[0], 1),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _VERSIONS_OF},
        "commit": _commit(),
    }


def _file_system(directory: Path) -> str:
    found = subprocess.run(["stat", "-f", "-c", "%T", str(directory)], capture_output=True, text=True, check=True)
    return found.stdout.strip().replace("ext2/ext3", "ext4")


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return asked.stdout.strip() or "unknown"


def _first(path: Path, pattern: str) -> str | None:
    found = re.search(pattern, path.read_text(encoding="utf-8")) if path.exists() else None
    return found.group(1).strip() if found else None
