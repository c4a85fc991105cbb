"""Preference pairs of every common shape, row by row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moyai.corpus.instructions.row_shapes import (
    Messages,
    RowError,
    messages_of,
    row_language,
    row_name,
    shape_of,
    shown,
    text_of,
)
from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.rows import read_numbered_rows

# A dialogue in one string: "User: …", a blank line, "Assistant: …"; or Human and Assistant, as Anthropic wrote them.
_SPEAKER = re.compile(r"(?:\A|\n\n)(User|Human|Assistant): ?")
_BEGINS_AS_DIALOGUE = re.compile(r"\s*(?:User|Human): ")
_ASKS_FOR_ANSWER = re.compile(r"\n\nAssistant:\s*\Z")


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, of which one is better."""

    id: str
    prompt: Messages
    """Ends with the user."""
    chosen: str
    rejected: str
    place: str
    """File and row, for messages."""


def read_preferences(
    path: Path,
    *,
    language: str | None = None,
    broken: Broken | None = None,
    left_out: Counter[str] | None = None,
) -> Iterator[Preference]:
    """The preference pairs of a file.

    A prompt is text, text in blocks of `User:` and `Assistant:`, or messages; an answer is text or messages of which
    the last is the answer.  Without a prompt, chosen and rejected are whole dialogues that differ in their last answer.

    Args:
        path: a file of rows with chosen and rejected.
        language: rows that say they are in another one are left out.
        broken: what happens to broken rows; default: the first one stops.
        left_out: counts what is left out for other reasons.

    Raises:
        InputFileError: the file is missing or damaged, or a row is broken and that is to stop; file, row, key and value
            are named.
    """
    broken = broken or Broken("stop")
    for row in read_numbered_rows(path, broken):
        if language is not None and row_language(row.values) not in (None, language):
            if left_out is not None:
                left_out["row in another language"] += 1
            continue
        try:
            prompt, chosen, rejected = row_preference(row.values, row.place)
        except RowError as error:
            broken.add(error.reason, row.place, error.problem, hint=error.hint)
            continue
        yield Preference(row_name(row, path), prompt, chosen, rejected, row.place)


def row_preference(row: Mapping[str, Any], where: str) -> tuple[Messages, str, str]:
    """Prompt, chosen and rejected answer of one row.

    Raises:
        RowError: the row is broken, or no preference.
    """
    shape = shape_of(row, where)
    if shape != "preference":
        raise RowError("unknown columns", where, f"is of shape {shape!r}; a preference has prompt, chosen and rejected")
    given = _prompt(row["prompt"], where) if row.get("prompt") is not None else ()
    before_chosen, chosen = _answer(row, "chosen", given, where)
    before_rejected, rejected = _answer(row, "rejected", given, where)
    if before_chosen != before_rejected:
        raise RowError("two prompts", where, "has chosen and rejected that differ before their last answer")
    if not before_chosen or before_chosen[-1]["role"] != "user":
        raise RowError("no question", where, "has a prompt in which the user does not speak last")
    if chosen == rejected:
        raise RowError("equal answers", where, f"has chosen and rejected alike: {shown(chosen)}")
    return before_chosen, chosen, rejected


def _answer(row: Mapping[str, Any], key: str, given: Messages, where: str) -> tuple[Messages, str]:
    """What stands before an answer, and the answer."""
    value = row[key]
    if isinstance(value, str) and (given or not _BEGINS_AS_DIALOGUE.match(value)):
        return given, text_of(row, key, where)
    messages = _dialogue(value, key, where)
    if messages[-1]["role"] != "assistant":
        raise RowError("no answer", where, f"has {key} in which the assistant does not speak last")
    before = messages[:-1]
    return before if before[: len(given)] == given else given + before, messages[-1]["content"]


def _prompt(value: Any, where: str) -> Messages:
    if isinstance(value, str) and _BEGINS_AS_DIALOGUE.match(value):
        value = _ASKS_FOR_ANSWER.sub("", value)
    return _dialogue(value, "prompt", where)


def _dialogue(value: Any, key: str, where: str) -> Messages:
    if not isinstance(value, str):
        return messages_of(value, key, where)
    text = text_of({key: value}, key, where)
    if not _BEGINS_AS_DIALOGUE.match(text):
        return ({"role": "user", "content": text},)
    blocks = _SPEAKER.split("\n\n" + text.strip())[1:]
    turns: list[dict[str, str]] = []
    for speaker, said in zip(blocks[::2], blocks[1::2], strict=True):
        role = "assistant" if speaker == "Assistant" else "user"
        if turns and turns[-1]["role"] == role:  # a mark within what somebody says
            turns[-1]["content"] += f"\n\n{speaker}: {said.strip()}"
        else:
            turns.append({"role": role, "content": said.strip()})
    return messages_of(turns, key, where)
