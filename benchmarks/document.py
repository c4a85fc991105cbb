"""docs/benchmarks.md, from the stored results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.results import load_result
from benchmarks.workplace import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"

_HEAD = """# Benchmarks

`make bench` measures moyai against other programs in the same run, and writes this page from `benchmarks/results/`.
`make bench ONLY="NAME ..."` does some of them, `make bench AGAIN=1` also those whose result is of the present code.
All of them take about 40 minutes on 2 cores and 32 GB of free disk, in `.bench/`, which can be removed afterwards.

How it is measured:

- Rivals run in turn, and every second round in the opposite order.  Figures are medians; ranges stand in brackets.
- A ratio is the median of the ratios of the pairs, each of two runs that followed one another.
- Time begins with the start of the program's process and ends when every file that it wrote is on the disk (`fsync`).
- Before each run the old output is removed, the disk is left to come to rest (`sync`), what any of the rivals reads is put
  out of the page cache, and what this one reads is read once, so that it comes from the page cache where that can hold it.
- Memory is the highest resident memory of the process or of one of its children (`ru_maxrss`).  It counts mapped file
  pages as well, which the kernel could take back.
- Peers live in virtual environments of their own, with exactly the versions of `benchmarks/peers/`.

It is no test: nothing here fails when a figure is bad.
"""


def write_document(benchmarks: Iterable[Benchmark]) -> None:
    """Write the page; a benchmark without a result is left out."""
    parts = [_HEAD]
    for benchmark in benchmarks:
        result = load_result(benchmark.name)
        if result is not None:
            parts.append(f"{benchmark.section(result['figures']).rstrip()}\n\n{_provenance(benchmark.name, result)}")
    DOCUMENT.write_text("\n".join(parts), encoding="utf-8")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def seconds(summary: Mapping[str, Any]) -> str:
    """Median and range of seconds."""
    low, high = summary["seconds_range"]
    return f"{summary['seconds']:.1f} ({low:.1f}–{high:.1f})"


def megabytes(summary: Mapping[str, Any]) -> str:
    """Median of peak memory."""
    return f"{summary['peak_bytes'] / 1e6:,.0f}"


def times(ratio: Mapping[str, Any]) -> str:
    """Median and range of ratios."""
    low, high = ratio["range"]
    return f"{ratio['median']:.2f} ({low:.2f}–{high:.2f})"


def _provenance(name: str, result: Mapping[str, Any]) -> str:
    m = result["machine"]
    versions = ", ".join(f"{package} {number}" for package, number in m["versions"].items())
    return (
        f"<sub>`{name}`, {m['date']}, commit {m['commit']}; {m['cpu']}, {m['cores']} cores, "
        f"{m['memory_bytes'] / 1e9:.0f} GB of memory, {m['file_system']}, {m['system']}, load before {m['load_before']}; "
        f"{versions}</sub>\n"
    )
