"""What records and run directories hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moyai.cli.description import Description
from moyai.recipe.record import Record, read_record, records_of_run


def describe_record(directory: Path) -> Description:
    """One finished stage.

    Raises:
        InputFileError: its record cannot be read.
    """
    record = read_record(directory)
    facts = {
        "path": str(directory),
        "stage": record.name,
        "stage_kind": record.identity.kind,
        "made_from": ", ".join(parent.name for parent in record.identity.parents),
        "seconds": record.seconds,
        "peak_bytes": record.peak_bytes,
        "resumed": record.resumed,
        "started": record.started,
        "fingerprint": record.fingerprint,
        "moyai": record.moyai,
    }
    tables = {
        "settings": _rows(record.identity.settings),
        "results": _rows(record.results),
    }
    return Description("stage", facts, tables)


def describe_run(run_dir: Path) -> Description:
    """Every finished stage of a run directory.

    Raises:
        InputFileError: a record cannot be read.
    """
    records = [record for _, record in records_of_run(run_dir).values()]
    facts = {
        "path": str(run_dir),
        "stages_done": len(records),
        "seconds": round(sum(record.seconds for record in records), 1),
        "peak_bytes": max(record.peak_bytes for record in records),
    }
    return Description("run", facts, {"stages": [_stage(record) for record in records]})


def _stage(record: Record) -> dict[str, Any]:
    return {
        "stage": record.name,
        "kind": record.identity.kind,
        "seconds": record.seconds,
        "peak_bytes": record.peak_bytes,
        "results": {name: value for name, value in record.results.items() if _is_figure(value)},
    }


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rows(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]
