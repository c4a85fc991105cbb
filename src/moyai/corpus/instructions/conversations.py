"""Conversations and instructions of every common shape, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moyai.corpus.instructions.oasst import TreeMessages, top_thread
from moyai.corpus.instructions.row_shapes import (
    TURN_COLUMNS,
    Messages,
    RowError,
    Shape,
    messages_of,
    row_language,
    row_name,
    says_nothing,
    shape_of,
    shown,
    text_of,
)
from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.rows import Row, read_numbered_rows


@dataclass(frozen=True)
class Conversation:
    """One conversation: messages of `role` and `content`, in order."""

    id: str
    messages: Messages
    place: str
    """File and row, for messages."""


def read_conversations(
    path: Path,
    *,
    language: str | None = None,
    broken: Broken | None = None,
    left_out: Counter[str] | None = None,
) -> Iterator[Conversation]:
    """The conversations of a file, whatever common shape its rows have.

    An instruction or a question is a conversation of one turn; of a message tree the best-ranked thread is taken.

    Args:
        path: a file of rows.
        language: left out are rows that say they are in another one, and of trees what is in another one.
        broken: what happens to broken rows; default: the first one stops.
        left_out: counts what is left out for other reasons.

    Raises:
        InputFileError: the file is missing or damaged, or a row is broken and that is to stop; file, row, key and value
            are named.
    """
    broken = broken or Broken("stop")
    left_out = Counter() if left_out is None else left_out
    trees = TreeMessages()
    for row in read_numbered_rows(path, broken):
        try:
            found = _read(row, trees, language, left_out)
        except RowError as error:
            broken.add(error.reason, row.place, error.problem, hint=error.hint)
            continue
        if found:
            yield Conversation(row_name(row, path), found, row.place)
    # A tree's messages may stand anywhere in the file, so these come when all are there.
    for name, tree in trees.trees(left_out=left_out):
        where = f"{path} tree {name}"
        try:
            found = top_thread(tree, where, language=language, left_out=left_out)
        except RowError as error:
            broken.add(error.reason, where, error.problem, hint=error.hint)
            continue
        if found:
            yield Conversation(name, found, where)


def _read(row: Row, trees: TreeMessages, language: str | None, left_out: Counter[str]) -> Messages:
    """The conversation of a row; nothing where it is left out, or only a part of a tree."""
    shape = shape_of(row.values, row.place)
    if shape == "tree message":
        trees.add(row.values, row.place)
        return ()
    if shape == "message tree":
        return top_thread(row.values, row.place, language=language, left_out=left_out)
    if language is not None and row_language(row.values) not in (None, language):
        left_out["row in another language"] += 1
        return ()
    return row_messages(row.values, shape, row.place)


def row_messages(row: Mapping[str, Any], shape: Shape, where: str) -> Messages:
    """The messages of one row of that shape.

    Raises:
        RowError: the row is broken, or its shape holds no conversation.
    """
    if shape not in _READERS:
        raise RowError("no messages", where, f"is of shape {shape!r}, which holds no conversation")
    return _READERS[shape](row, where)


def one_turn(asked: str, answered: str) -> Messages:
    """A question and its answer as messages."""
    return {"role": "user", "content": asked}, {"role": "assistant", "content": answered}


def _conversation(row: Mapping[str, Any], where: str) -> Messages:
    column = next(column for column in TURN_COLUMNS if row.get(column) is not None)
    return _system(row, where, messages_of(row[column], column, where))


def _instruction(row: Mapping[str, Any], where: str) -> Messages:
    answer = "output" if row.get("output") is not None else "response"
    asked = text_of(row, "instruction", where)
    with_text = next((name for name in ("input", "context") if not says_nothing(row.get(name))), None)
    if with_text is not None:
        asked += "\n\n" + text_of(row, with_text, where)
    return _system(row, where, _history(row, where) + one_turn(asked, text_of(row, answer, where)))


def _system(row: Mapping[str, Any], where: str, messages: Messages) -> Messages:
    """The messages, in front of them the column `system` where they have no system message of their own."""
    if says_nothing(row.get("system")) or messages[0]["role"] == "system":
        return messages
    return {"role": "system", "content": text_of(row, "system", where)}, *messages


def _history(row: Mapping[str, Any], where: str) -> Messages:
    """The turns of the column `history`, each a question and its answer."""
    value = row.get("history")
    turns: Any = () if says_nothing(value) else value
    if not _is_list(turns) or not all(_is_list(turn) and len(turn) == 2 for turn in turns):
        raise RowError("no messages", where, f"has history {shown(value)}; it must be a list of [question, answer]")
    messages: Messages = ()
    for number, turn in enumerate(turns):
        said = {f"history[{number}][{place}]": text for place, text in enumerate(turn)}
        messages += one_turn(*(text_of(said, key, where) for key in said))
    return messages


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _completion(row: Mapping[str, Any], where: str) -> Messages:
    if isinstance(row["prompt"], str):
        return one_turn(text_of(row, "prompt", where), text_of(row, "completion", where))
    asked, answered = (messages_of(row[key], key, where) for key in ("prompt", "completion"))
    if answered[0]["role"] == "system":
        raise RowError(
            "late system message", where, "has a system message in completion[0]; it may only be the first of the prompt"
        )
    return asked + answered


def _question(row: Mapping[str, Any], where: str) -> Messages:
    context = "" if says_nothing(row.get("context")) else text_of(row, "context", where) + "\n\n"
    return one_turn(context + text_of(row, "question", where), text_of(row, "answer", where))


_READERS: dict[Shape, Callable[[Mapping[str, Any], str], Messages]] = {
    "conversation": _conversation,
    "instruction": _instruction,
    "completion": _completion,
    "question": _question,
}
