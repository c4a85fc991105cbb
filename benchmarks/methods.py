"""What each way of making experts costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.document import megabytes, seconds, table
from benchmarks.measure import Work, alternate, summary
from benchmarks.workplace import Workplace

SETTINGS: dict[str, Any] = {
    "size": "1B",
    "rounds": 3,
    "methods": {
        "copy": ["--method", "copy"],
        "drop": ["--method", "drop"],
        "noise": ["--method", "noise"],
        "virtual-group, 2 groups": ["--method", "virtual-group", "--granularity", "2"],
    },
}


def measure(workplace: Workplace) -> dict[str, Any]:
    """All methods in turn on the same model."""
    model = workplace.model(SETTINGS["size"])
    works, sizes = {}, {}
    for number, (name, options) in enumerate(SETTINGS["methods"].items()):
        out = workplace.out(f"method-{number}")
        command = [workplace.moyai, "upcycle", str(model), str(out), "--experts", "4", "--active", "2", *options]
        works[name] = Work(command, out, (model,))

    def weigh(name: str) -> None:
        sizes[name] = sum(path.stat().st_size for path in works[name].out_dir.iterdir())

    runs = alternate(works, SETTINGS["rounds"], workplace.log, weigh)
    return {"works": {name: summary(done) for name, done in runs.items()}, "bytes": sizes}


def section(figures: Mapping[str, Any]) -> str:
    """The section in the document."""
    rows = [
        [name, f"{figures['bytes'][name] / 1e9:.1f}", seconds(done), f"{done['cpu_seconds']:.1f}", megabytes(done)]
        for name, done in figures["works"].items()
    ]
    return f"""## Methods

`moyai upcycle`, 1.07 billion parameters → 4 experts, 2 active.

{table(["method", "GB written", "seconds", "CPU seconds", "peak MB"], rows)}"""


BENCHMARK = Benchmark("methods", SETTINGS, measure, section)
