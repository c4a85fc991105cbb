"""Upcycling by copies against `cp` of what it writes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.document import seconds, table, times
from benchmarks.measure import Work, alternate, ratio, summary
from benchmarks.workplace import Workplace

SETTINGS: dict[str, Any] = {"size": "1B", "experts": 4, "rounds": 7}


def measure(workplace: Workplace) -> dict[str, Any]:
    """Pairs of runs; each tool finds what it reads in the page cache."""
    model, reference = workplace.model(SETTINGS["size"]), workplace.out("reference")
    counts = ["--experts", str(SETTINGS["experts"]), "--active", "2", "--method", "copy"]
    workplace.call([workplace.moyai, "upcycle", str(model), str(reference), *counts])
    ours, theirs = workplace.out("upcycled"), workplace.out("copied")
    works = {
        "moyai upcycle": Work([workplace.moyai, "upcycle", str(model), str(ours), *counts], ours, (model,)),
        "cp": Work(["cp", "-r", str(reference), str(theirs)], theirs, (reference,)),
    }
    runs = alternate(works, SETTINGS["rounds"], workplace.log)
    written = sum(path.stat().st_size for path in reference.iterdir())
    shutil.rmtree(reference)
    return {
        "works": {name: summary(done) for name, done in runs.items()},
        "ratio": ratio(runs["moyai upcycle"], runs["cp"]),
        "bytes": written,
    }


def section(figures: Mapping[str, Any]) -> str:
    """The section in the document."""
    rows = [
        [f"`{name}`", seconds(done), f"{done['cpu_seconds']:.1f}", f"{figures['bytes'] / done['seconds'] / 1e6:,.0f}"]
        for name, done in figures["works"].items()
    ]
    ours, theirs = figures["works"]["moyai upcycle"], figures["works"]["cp"]
    return f"""## Upcycling against `cp`

`moyai upcycle --method copy`, 1.07 billion parameters → 4 experts, against `cp -r` of its result and `fsync`.
`cp` reads {figures["bytes"] / 1e9:.1f} GB, moyai the 2.1 GB of the dense model; both are read beforehand.

{table(["", "seconds", "CPU seconds", "MB/s written"], rows)}
`moyai upcycle` takes {times(figures["ratio"])} times as long as `cp`, over {len(figures["ratio"]["pairs"])} pairs of runs;
its median is {ours["seconds"] / theirs["seconds_range"][0]:.2f} times the fastest run of `cp`.
`cp` goes through 12.6 GB of page cache, moyai through 8.5 GB; where fresh memory is slow, that tells.
"""


BENCHMARK = Benchmark("copy_vs_cp", SETTINGS, measure, section)
