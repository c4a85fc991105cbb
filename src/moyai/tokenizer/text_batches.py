"""Texts in batches: enough for all cores, little in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_BATCH_CHARACTERS = 1 << 20

_Item = TypeVar("_Item")


def text_batches(items: Iterable[_Item], text_of: Callable[[_Item], str]) -> Iterator[list[_Item]]:
    """Items in order, in lists whose texts come to about a million characters.

    >>> [len(batch) for batch in text_batches(["a" * 700_000] * 3, str)]
    [2, 1]
    """
    batch: list[_Item] = []
    held = 0
    for item in items:
        batch.append(item)
        held += len(text_of(item))
        if held >= _BATCH_CHARACTERS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
