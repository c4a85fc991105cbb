"""A model of 1.07 billion parameters made into 4 experts, by moyai and by mergekit-moe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import mergekit_peer
from benchmarks.benchmark import Benchmark
from benchmarks.document import megabytes, seconds, table, times
from benchmarks.measure import Run, Work, alternate, ratio, summary
from benchmarks.workplace import OFFLINE, Workplace

SETTINGS: dict[str, Any] = {"size": "1B", "experts": 4, "active": 2, "rounds": 5, "options": mergekit_peer.OPTIONS}
_UPCYCLE, _MERGE, _NUMPY = "moyai upcycle", "moyai merge", "python -c 'import numpy'"


def measure(workplace: Workplace) -> dict[str, Any]:
    """Both tools on the same model; `moyai merge` reads the very config that mergekit-moe reads."""
    model = workplace.model(SETTINGS["size"])
    config = workplace.scratch / "configs" / "same.yml"
    mergekit_peer.write_config(config, model, [model] * SETTINGS["experts"], gate_mode="random")
    upcycled, merged = workplace.out("upcycled"), workplace.out("merged")
    counts = ["--experts", str(SETTINGS["experts"]), "--active", str(SETTINGS["active"])]
    upcycle = [workplace.moyai, "upcycle", str(model), str(upcycled), *counts, "--method", "copy"]
    merge = [workplace.moyai, "merge", str(config), str(merged)]
    works = {
        _NUMPY: Work([workplace.python, "-c", "import numpy"], workplace.out("nothing")),
        _UPCYCLE: Work(upcycle, upcycled, (model,)),
        _MERGE: Work(merge, merged, (model,)),
    }
    for number, (name, options) in enumerate(mergekit_peer.OPTIONS.items()):
        out = workplace.out(f"mergekit-{number}")
        command = mergekit_peer.command(workplace, config, out, options)
        works[name] = Work(command, out, (model,), OFFLINE)
    runs = alternate(works, SETTINGS["rounds"], workplace.log)
    best = min(mergekit_peer.OPTIONS, key=lambda name: summary(runs[name])["seconds"])
    return {
        "works": {name: summary(done) for name, done in runs.items()},
        "best": best,
        "ratio": {name: ratio(runs[best], runs[name]) for name in (_UPCYCLE, _MERGE)},
        "ratio_as_it_comes": ratio(runs["as it comes"], runs[_UPCYCLE]),
        "above_numpy_bytes": {name: _peak(runs[name]) - _peak(runs[_NUMPY]) for name in (_UPCYCLE, _MERGE)},
    }


def _peak(runs: list[Run]) -> int:
    peak: int = summary(runs)["peak_bytes"]
    return peak


def section(figures: Mapping[str, Any]) -> str:
    """The section in the document."""
    works, best = figures["works"], figures["best"]
    rows = []
    for name, done in works.items():
        if name == _NUMPY:
            continue
        told = f"mergekit-moe {mergekit_peer.VERSION}, {name}" if name in mergekit_peer.OPTIONS else f"`{name}`"
        rows.append([told, seconds(done), f"{done['cpu_seconds']:.1f}", megabytes(done)])
    options = [f"{name}: `{' '.join(given) or 'none'}`" for name, given in mergekit_peer.OPTIONS.items()]
    above = max(figures["above_numpy_bytes"].values()) / 1e6
    return f"""## Upcycling against mergekit

1.07 billion parameters of Mistral's shape in bfloat16 → 4 experts, 2 active: 6.3 GB written.

{table(["", "seconds", "CPU seconds", "peak MB"], rows)}
The faster of mergekit's settings, {best}, takes {times(figures["ratio"][_UPCYCLE])} times as long as `{_UPCYCLE}`
and {times(figures["ratio"][_MERGE])} times as long as `{_MERGE}` with the same config file;
as it comes, {times(figures["ratio_as_it_comes"])} times as long as `{_UPCYCLE}`.
moyai's memory is at most {above:.0f} MB above `{_NUMPY}`.

mergekit's settings: {"; ".join(options)}.
"""


BENCHMARK = Benchmark("upcycle_vs_mergekit", SETTINGS, measure, section)
