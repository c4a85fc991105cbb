"""The common shapes of instruction, conversation and preference data, recognised by a row's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from moyai.corpus.reading.broken import BrokenReason
from moyai.corpus.reading.rows import Row
from moyai.errors import InputFileError

Shape = Literal[
    "preference", "conversation", "instruction", "completion", "question", "text with questions", "shots",
    "message tree", "tree message",
]  # fmt: skip
Messages = tuple[dict[str, str], ...]

TURN_COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog")

# One line a way to write a shape: the columns that it needs, all of them.  The first that fits is taken.
_SHAPES: tuple[tuple[Shape, tuple[str, ...], str], ...] = (
    ("preference", ("chosen", "rejected"), "prompt, chosen, rejected"),
    *(("conversation", (column,), f"{column} (role and content, or from and value)") for column in TURN_COLUMNS),
    ("instruction", ("instruction", "output"), "instruction, input, output"),
    ("instruction", ("instruction", "response"), "instruction, context, response"),
    ("completion", ("prompt", "completion"), "prompt, completion"),
    ("question", ("question", "answer"), "question, answer"),
    ("text with questions", ("text", "qa"), "text, qa (question and answer)"),
    ("shots", ("shots",), "shots (text and qa)"),
    ("message tree", ("message_tree_id", "prompt"), "message_tree_id, prompt (a tree)"),
    ("tree message", ("message_id", "text", "role"), "message_id, parent_id, text, role"),
)
_ROLES = {"system": "system", "user": "user", "assistant": "assistant"}
_SPEAKERS = {"human": "user", "gpt": "assistant", **_ROLES}


class RowError(InputFileError):
    """A row that is not as it should be."""

    def __init__(self, reason: BrokenReason, where: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{where} {problem}", hint=hint)
        self.reason: BrokenReason = reason
        """What it is counted under."""
        self.problem = problem
        """The rest of a sentence that begins with the file and the row."""


def shape_of(row: Mapping[str, Any], where: str) -> Shape:
    """The shape that a row's columns say it has; a column that is null is not there.

    Args:
        row: of a file.
        where: file and row, for messages.

    Raises:
        RowError: it has none of the known shapes.

    >>> shape_of({"instruction": "Translate", "input": "舟", "output": "boat"}, "a.jsonl line 1")
    'instruction'
    """
    present = {column for column, value in row.items() if value is not None}
    for shape, columns, _ in _SHAPES:
        if present.issuperset(columns):
            return shape
    known = "; ".join(description for _, _, description in _SHAPES)
    raise RowError(
        "unknown columns", where, f"has columns {', '.join(sorted(present)) or 'none'}; known shapes are: {known}"
    )


def text_of(row: Mapping[str, Any], key: str, where: str) -> str:
    """The text in a column, white space at its ends included.

    Raises:
        RowError: there is no text.
    """
    value = row.get(key)
    if not isinstance(value, str):
        raise RowError("text of another type", where, f"has {key} {shown(value)}; it must be text")
    if not value.strip():
        raise RowError("empty text", where, f"has {key} {shown(value)}; it must say something")
    return value


def says_nothing(value: Any) -> bool:
    """Whether a column that may be missing is missing, or its text is blank.

    >>> [says_nothing(value) for value in (None, "", " ", "舟")]
    [True, True, True, False]
    """
    return value is None or (isinstance(value, str) and not value.strip())


def messages_of(value: Any, key: str, where: str) -> Messages:
    """A list of turns as messages of role (system, user, assistant) and content.

    A turn has `role` and `content`, or `from` (human, gpt, system) and `value` as in ShareGPT.

    Args:
        value: what stands in a column.
        key: the column, for messages.
        where: file and row, for messages.

    Raises:
        RowError: it is no such list, or a turn that should say something is empty.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowError("no messages", where, f"has {key} {shown(value)}; it must be a list of messages")
    return tuple(_message(turn, f"{key}[{number}]", where) for number, turn in enumerate(value))


def row_language(row: Mapping[str, Any]) -> str | None:
    """The language that a row says it is in, in its column `lang` or `language`."""
    named = row.get("lang") or row.get("language")
    return named if isinstance(named, str) else None


def row_name(row: Row, path: Path) -> str:
    """A row's own id, a tree's name, or file and line."""
    own = next((row.values[key] for key in ("id", "message_tree_id") if row.values.get(key) is not None), None)
    return row.name(path.name) if own is None else str(own)


def shown(value: Any) -> str:
    """A value as messages show it."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _message(turn: Any, key: str, where: str) -> dict[str, str]:
    if not isinstance(turn, Mapping):
        raise RowError("no messages", where, f"has {key} {shown(turn)}; it must have role and content")
    by_role = turn.get("role") is not None
    speaker, said, roles = ("role", "content", _ROLES) if by_role else ("from", "value", _SPEAKERS)
    role = roles.get(turn[speaker]) if isinstance(turn.get(speaker), str) else None
    if role is None:
        raise RowError(
            "unknown role", where, f"has {key}.{speaker} {shown(turn.get(speaker))}; it must be {', '.join(roles)}"
        )
    content = turn.get(said)
    if not isinstance(content, str):
        raise RowError("text of another type", where, f"has {key}.{said} {shown(content)}; it must be text")
    if role != "system" and not content.strip():
        raise RowError("empty text", where, f"has {key}.{said} {shown(content)}; it must say something")
    if role == "system" and not key.endswith("[0]"):
        raise RowError("late system message", where, f"has a system message in {key}; it may only be the first")
    return {"role": role, "content": content}
