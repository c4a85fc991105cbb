"""Results as JSON files: what was measured, with which code, where and when."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from benchmarks.workplace import ROOT

RESULTS = ROOT / "benchmarks" / "results"
_CODE = ("src/moyai/**/*.py", "benchmarks/**/*.py", "benchmarks/peers/*.txt", "constraints.txt")


def code_sha256() -> str:
    """sha256 over the code that is measured and that measures."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _CODE for path in ROOT.glob(pattern)}):
        digest.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def load_result(name: str) -> dict[str, Any] | None:
    """The stored result of a benchmark."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def describe(settings: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
    """What a result that is about to be measured is a result of."""
    return {"settings": settings, "code_sha256": code_sha256(), "machine": machine}


def is_current(result: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> bool:
    """Whether a result is of the present code and of these settings."""
    plain = json.loads(json.dumps(settings))
    return result is not None and result["code_sha256"] == code_sha256() and result["settings"] == plain


def store_result(name: str, about: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write a result: what `describe` said before, and what was measured."""
    RESULTS.mkdir(exist_ok=True)
    partial = RESULTS / f"{name}.json.partial"
    partial.write_text(json.dumps({**about, "figures": figures}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(RESULTS / f"{name}.json")
