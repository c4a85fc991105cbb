"""The whole route on a tiny random model: texts, recipe, and what a finished run holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from moyai.corpus.reading.documents import read_documents
from moyai.recipe.sources import corpus_file
from tiny import ENGLISH, write_tiny_checkpoint

NAMES = ["init", "extend", "warm-up", "upcycle", "verify", "pretrain", "sft", "evaluate", "export", "small"]
CHECKPOINTS = ["init", "extend", "warm-up", "upcycle", "pretrain", "sft"]
NUM_PIECES = 40

_TRAINING = "batch_tokens: 256, row_tokens: 128, precision: float32, save_every_seconds: 0.05"
_RECIPE = """
moyai: 1
name: tiny
base: {root}/base
sources: {{ja: {root}/ja.jsonl, en: {root}/en.jsonl, chat: {root}/chat.jsonl}}
stages:
  - extend: {{corpus: ja, pieces: {pieces}}}
  - pretrain: {{name: warm-up, corpus: {{ja: 0.7, en: 0.3}}, tokens: {tokens}, {training}}}
  - upcycle: {{experts: 4, active: 2, method: copy}}
  - verify: {{against: warm-up, text: ja, tokens: 300, tolerance: 1e-4}}
  - pretrain: {{corpus: {{ja: 0.7, en: 0.3}}, tokens: {tokens}, optimizer: adafactor, learning_rate: 1e-2, {training}}}
  - sft: {{data: chat, epochs: 2, {training}}}
  - evaluate: {{texts: {{ja: ja, en: en}}, max_characters: 120, limit: 3}}
  - export: {{type: f32}}
  - export: {{name: small, type: q8_0}}
"""


def write_tiny_route(root: Path, *, tokens: int = 2048) -> Path:
    """Write base, texts and recipe into `root`; returns the recipe's path."""
    root.mkdir(parents=True, exist_ok=True)
    write_tiny_checkpoint(root / "base")
    japanese = [document.text[:200] for document in read_documents(corpus_file("starter:ja_text"))][:40]
    _write(root / "ja.jsonl", _documents(japanese))
    _write(root / "en.jsonl", _documents([f"{number}. {ENGLISH}" for number in range(20)]))
    _write(root / "chat.jsonl", [_conversation(number) for number in range(12)])
    recipe = root / "tiny.yaml"
    recipe.write_text(_RECIPE.format(root=root, pieces=NUM_PIECES, tokens=tokens, training=_TRAINING), encoding="utf-8")
    return recipe


def stage_dirs(run_dir: Path) -> dict[str, Path]:
    """The finished stages of a run by name."""
    return {path.name[3:]: path for path in sorted(run_dir.glob("[0-9][0-9]-*")) if path.is_dir()}


def outcome(run_dir: Path) -> dict[str, Any]:
    """All that a run must give again, whatever happened on the way: times are left out, bytes are not."""
    found: dict[str, Any] = {}
    for name, directory in stage_dirs(run_dir).items():
        for path in sorted(directory.iterdir()):
            place = f"{name}/{path.name}"
            if path.name == "record.json":
                record = json.loads(path.read_bytes())
                timeless = {k: v for k, v in record["results"].items() if "second" not in k}
                found[place] = {"results": timeless, "fingerprint": record["fingerprint"]}
            elif path.name == "training_log.jsonl":
                lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
                found[place] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
            else:
                found[place] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _documents(texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"id": str(number), "text": text, "split": "train" if number % 5 else "heldout"}
        for number, text in enumerate(texts)
    ]


def _conversation(number: int) -> dict[str, Any]:
    question = {"role": "user", "content": f"{number}番の舟はどこ？"}
    return {"messages": [question, {"role": "assistant", "content": "岸にあります。" * (1 + number % 2)}]}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
