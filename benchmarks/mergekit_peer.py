"""mergekit as a peer: its environment, its configs and its command lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.workplace import Workplace

VERSION = "0.1.5"
# Of all settings that bear on speed, these were tried: shards of 0.2, 0.5, 1, 5 (its default) and 20 GB (it counts bytes,
# though it says parameters), asynchronous writing with 1, 2 and 4 threads, with and without cloned tensors.
OPTIONS = {
    "as it comes": (),
    "small shards, asynchronous": ("--out-shard-size", "1B", "--async-write", "--write-threads", "2"),
}
_SURE = "--i-understand-this-is-not-useful-without-training"


def write_config(
    path: Path,
    base: Path,
    experts: Sequence[Path],
    *,
    gate_mode: str,
    prompts: Sequence[Mapping[str, Sequence[str]]] | None = None,
) -> Path:
    """Write a config of 2 active experts; `prompts` are each expert's positive and negative prompts."""
    given = prompts or [{"positive_prompts": []}] * len(experts)
    config = {
        "base_model": str(base),
        "gate_mode": gate_mode,
        "dtype": "bfloat16",
        "experts_per_token": 2,
        "experts": [{"source_model": str(expert), **prompt} for expert, prompt in zip(experts, given, strict=True)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, ensure_ascii=False, indent=1), encoding="utf-8")  # JSON is YAML
    return path


def command(workplace: Workplace, config: Path, out: Path, options: Sequence[str] = ()) -> list[str]:
    """mergekit-moe's command line."""
    return [str(workplace.peer("mergekit") / "mergekit-moe"), str(config), str(out), _SURE, "--random-seed", "0", *options]
