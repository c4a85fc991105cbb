"""How long work tells where it stands: one small protocol, silent unless a program listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float, **figures: float) -> None:
        """Move on by `amount` units; `figures` (loss=2.1, ...) are shown beside the bar."""


class Progress(Protocol):
    """Where bars and one-line notes go."""

    @contextmanager
    def bar(self, label: str, *, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """A bar of `total` units (`unit` such as "tokens" or "bytes"), of which `done` are done already.

        A total of 0 is one that is not known.
        """
        ...  # pragma: no cover

    def note(self, text: str) -> None:
        """One line for the person who watches."""


class _SilentBar:
    def advance(self, amount: float, **figures: float) -> None:
        pass


class SilentProgress:
    """Shows nothing; for tests and for use as a library."""

    @contextmanager
    def bar(self, label: str, *, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """A bar that nobody sees."""
        yield _SilentBar()

    def note(self, text: str) -> None:
        """Nothing is shown."""
