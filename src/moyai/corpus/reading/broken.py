"""What is done about lines and documents that cannot be read: stop at the first, or drop and count them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

from moyai.errors import InputFileError

BrokenReason = Literal[
    "not UTF-8",
    "not JSON",
    "not an object",
    "half a character",
    "no text",
    "empty text",
    "text of another type",
    "unknown split",
    "unknown columns",
    "no messages",
    "unknown role",
    "late system message",
    "roles do not alternate",
    "repeated id",
    "two prompts",
    "no question",
    "no answer",
    "equal answers",
    "template fails",
]

_NUM_PLACES = 10


@dataclass
class Broken:
    """Counts broken lines and documents by reason, and keeps the first few places of each."""

    action: Literal["stop", "drop"]
    counts: Counter[BrokenReason] = field(default_factory=Counter)
    places: defaultdict[BrokenReason, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What was wrong and where, in the order of reading, ten of a reason."""

    def add(self, reason: BrokenReason, where: str, problem: str, *, hint: str = "") -> None:
        """Note one.

        Args:
            reason: what it is counted under.
            where: file and line.
            problem: what is wrong there, as the rest of a sentence that begins with `where`.
            hint: what to do about it.

        Raises:
            InputFileError: one is enough (`action` is stop).

        >>> broken = Broken("drop")
        >>> broken.add("no text", "a.jsonl line 3", "has no text")
        >>> broken.counts["no text"], broken.places["no text"]
        (1, ['a.jsonl line 3 has no text'])
        """
        if self.action == "stop":
            raise InputFileError(f"{where} {problem}", hint=hint)
        self.counts[reason] += 1
        if len(self.places[reason]) < _NUM_PLACES:
            self.places[reason].append(f"{where} {problem}")
