"""Time and memory of upcycling while the model grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.document import megabytes, seconds, table
from benchmarks.measure import Run, Work, alternate, summary
from benchmarks.workplace import Workplace

SETTINGS: dict[str, Any] = {
    "sizes": ["0.25B", "0.5B", "1B", "2B", "3B"],
    "methods": ["copy", "drop"],
    "experts": 4,
    "rounds": 1,
}


def measure(workplace: Workplace) -> dict[str, Any]:
    """Each size in turn; a model is removed before the next, larger one is made."""
    nothing = Work([workplace.python, "-c", "import numpy"], workplace.out("nothing"))
    runs: dict[str, dict[str, list[Run]]] = {}
    sizes: dict[str, int] = {}
    for size in SETTINGS["sizes"]:
        model = workplace.model(size)
        works = {"import numpy": nothing}
        for method in SETTINGS["methods"]:
            out = workplace.out(method)
            counts = ["--experts", str(SETTINGS["experts"]), "--active", "2", "--method", method]
            works[method] = Work([workplace.moyai, "upcycle", str(model), str(out), *counts], out, (model,))

        def weigh(name: str, size: str = size, works: Mapping[str, Work] = works) -> None:
            if name != "import numpy":
                sizes[size] = sum(path.stat().st_size for path in works[name].out_dir.iterdir())

        runs[size] = alternate(works, SETTINGS["rounds"], workplace.log, weigh)
        if size != "1B":  # other benchmarks want that one again
            workplace.remove_model(size)
    return {
        "sizes": {size: {name: summary(done) for name, done in works.items()} for size, works in runs.items()},
        "bytes": sizes,
    }


def section(figures: Mapping[str, Any]) -> str:
    """The section in the document."""
    heads, rows = ["parameters", "GB written"], []
    for method in SETTINGS["methods"]:
        heads += [f"{method}, seconds", f"{method}, peak MB"]
    for size, works in figures["sizes"].items():
        row = [size, f"{figures['bytes'][size] / 1e9:.1f}"]
        for method in SETTINGS["methods"]:
            row += [seconds(works[method]), megabytes(works[method])]
        rows.append(row)
    floor = next(iter(figures["sizes"].values()))["import numpy"]
    growths = [f"{method}: {_growth(figures, method):+.0%}" for method in SETTINGS["methods"]]
    return f"""## Growth

`moyai upcycle`, 4 experts, models of Mistral's shape.

{table(heads, rows)}
`python -c 'import numpy'` alone has a peak of {megabytes(floor)} MB.
Largest difference of peak memory between two sizes: {", ".join(growths)}.
"""


def _growth(figures: Mapping[str, Any], method: str) -> float:
    peaks = [works[method]["peak_bytes"] for works in figures["sizes"].values()]
    return float(max(peaks) / min(peaks) - 1)


BENCHMARK = Benchmark("growth", SETTINGS, measure, section)
