"""Measure what has no result of the present code, and write docs/benchmarks.md: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import copy_vs_cp, growth, methods, packing, readers, same_weights, upcycle_vs_mergekit, vocabulary
from benchmarks.document import write_document
from benchmarks.machine import describe_machine
from benchmarks.results import describe, is_current, load_result, store_result
from benchmarks.workplace import ROOT, Workplace

BENCHMARKS = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (upcycle_vs_mergekit, copy_vs_cp, growth, methods, same_weights, readers, vocabulary, packing)
}


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all: {', '.join(BENCHMARKS)}")
    parser.add_argument("--again", action="store_true", help="also where a result of this code and these settings is there")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".bench", help="models, outputs, the peers' environments")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    workplace = Workplace(arguments.scratch.absolute())
    workplace.scratch.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        if not arguments.again and is_current(load_result(name), benchmark.settings):
            print(f"{name}: measured before")
            continue
        print(f"{name}:", flush=True)
        about = describe(benchmark.settings, describe_machine(workplace.scratch))
        store_result(name, about, benchmark.measure(workplace))
        write_document(BENCHMARKS.values())
    write_document(BENCHMARKS.values())


if __name__ == "__main__":
    main()
