"""How much text a token of one or several tokenizers holds, by text and domain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Literal

from moyai.cli.description import Description
from moyai.corpus.reading.domains import read_domain_texts
from moyai.tokenizer.efficiency import Efficiency, measure_groups, tokenizer_file

_Group = tuple[str, str]


def describe_efficiency(tokenizers: Sequence[Path], texts: Sequence[str]) -> Description:
    """Characters and bytes per token of each tokenizer on each text and each domain of it.

    Args:
        tokenizers: directories or files, at least one.
        texts: corpus files; a row's domain is what its `source` says before the first colon.

    Raises:
        InputFileError: a tokenizer or a text cannot be read.
    """
    labels = _labels(tokenizers)
    measured = {
        label: _with_totals(measure_groups(tokenizer, _texts(texts)))
        for label, tokenizer in zip(labels, tokenizers, strict=True)
    }
    files = [{"tokenizer": label, "file": str(tokenizer_file(path))} for label, path in zip(labels, tokenizers, strict=True)]
    groups = list(measured[labels[0]])
    return Description(
        "tokenizer efficiency",
        {"num_texts": len({name for name, _ in groups})},
        {
            "tokenizers": files,
            "characters_per_token": [_row(group, measured, "characters") for group in groups],
            "bytes_per_token": [_row(group, measured, "bytes") for group in groups],
        },
    )


def _texts(sources: Sequence[str]) -> Iterator[tuple[_Group, str]]:
    for source in sources:
        for found in read_domain_texts(source):
            yield (found.name, found.domain), found.text


def _with_totals(measured: dict[_Group, Efficiency]) -> dict[_Group, Efficiency]:
    """Each text as a whole, and after it its domains, the largest first, where it has several."""
    names = dict.fromkeys(name for name, _ in measured)
    rows: dict[_Group, Efficiency] = {}
    for name in names:
        of_text = {domain: found for (text, domain), found in measured.items() if text == name}
        rows[name, "all"] = reduce(add, of_text.values())
        if len(of_text) > 1:
            largest_first = sorted(of_text.items(), key=lambda item: -item[1].num_characters)
            rows |= {(name, domain): found for domain, found in largest_first}
    return rows


def _row(
    group: _Group, measured: dict[str, dict[_Group, Efficiency]], unit: Literal["characters", "bytes"]
) -> dict[str, Any]:
    name, domain = group
    figures = {
        label: rows[group].characters_per_token if unit == "characters" else rows[group].bytes_per_token
        for label, rows in measured.items()
    }
    counted = next(iter(measured.values()))[group]
    return {
        "text": name,
        "domain": domain,
        unit: counted.num_characters if unit == "characters" else counted.num_bytes,
        **{label: value if value is None else round(value, 3) for label, value in figures.items()},
    }


def _labels(tokenizers: Sequence[Path]) -> list[str]:
    """What each is called: its directory, or its file where the file has a name of its own; paths if that is not enough."""
    names = []
    for path in tokenizers:
        is_own = not path.is_dir() and path.name not in ("tokenizer.json", "tokenizer.model")
        names.append(path.stem if is_own else (path if path.is_dir() else path.parent).resolve().name)
    return names if len(set(names)) == len(names) else [str(path) for path in tokenizers]
