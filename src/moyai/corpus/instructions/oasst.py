"""Message trees of OpenAssistant (OASST1, OASST2): the best-ranked thread of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from moyai.corpus.instructions.row_shapes import Messages, RowError, shown

_ROLES = {"prompter": "user", "assistant": "assistant"}
_KEPT = ("parent_id", "text", "role", "lang", "rank", "deleted", "review_result", "tree_state")


def top_thread(tree: Mapping[str, Any], where: str, *, language: str | None, left_out: Counter[str]) -> Messages:
    """The thread that takes the best-ranked reply at every step, down to the last answer of the assistant.

    Passed over are replies that are deleted, that the reviewers refused (as spam, or otherwise), or that are in
    another language; with a reply goes all that answers it.  A reply without a rank comes behind those that have one,
    and of equals the first is taken.

    Args:
        tree: `prompt` is the first message; each has `text`, `role`, `lang`, `rank`, `deleted`, `review_result` and
            `replies`.
        where: file and row, for messages.
        language: of every message of the thread; None takes any.
        left_out: counts trees that give no thread, and replies that are passed over beside a thread, by reason.

    Returns:
        The thread, or nothing.

    Raises:
        RowError: a message has no text or no known role, or answers one of its own role; or replies are no list.

    Source: the data cards of OpenAssistant/oasst1 and OpenAssistant/oasst2, for the format.
    """
    if tree.get("tree_state") not in (None, "ready_for_export"):
        left_out["tree that is not ready for export"] += 1
        return ()
    message = tree["prompt"]
    fault = _fault(message, language, where)
    if fault:
        left_out[f"tree whose first message is {fault}"] += 1
        return ()
    thread = [message]
    while replies := _sound_replies(message, language, where, left_out):
        message = min(replies, key=_rank)
        thread.append(message)
    messages = tuple(_message(message, where) for message in thread)
    for before, after in pairwise(messages):
        if before["role"] == after["role"]:
            raise RowError("roles do not alternate", where, f"has {after['role']} answering {before['role']}")
    if messages[-1]["role"] == "user":
        messages = messages[:-1]
    if not messages:
        left_out["tree without an answer"] += 1
    return messages


class TreeMessages:
    """Single messages, in any order, that together are trees."""

    def __init__(self) -> None:
        self._messages: dict[str, dict[str, Any]] = {}

    def add(self, row: Mapping[str, Any], where: str) -> None:
        """One more message.

        Raises:
            RowError: its id is no text, or another one had it; or its parent's is no text.
        """
        own, parent = row["message_id"], row.get("parent_id")
        if not isinstance(own, str) or own in self._messages:
            raise RowError("repeated id", where, f"has message_id {shown(own)}; it must be a text of its own")
        if parent is not None and not isinstance(parent, str):
            raise RowError("text of another type", where, f"has parent_id {shown(parent)}; it must be text")
        self._messages[own] = {key: row.get(key) for key in _KEPT} | {"replies": []}

    def trees(self, *, left_out: Counter[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each tree with its name, its replies nested, in the order of the first messages."""
        roots: dict[str, dict[str, Any]] = {}
        orphans = []
        for own, message in self._messages.items():
            parent = message["parent_id"]
            if parent is None:
                roots[own] = message
            elif parent in self._messages:
                self._messages[parent]["replies"].append(message)
            else:
                orphans.append(message)
        reached = [*roots.values(), *orphans]
        for message in reached:  # which grows by what is found
            reached += message["replies"]
        counts = {
            "message that answers none that is there": len(orphans),
            "message that goes back to no first one": len(self._messages) - len(reached),
        }
        left_out.update({reason: count for reason, count in counts.items() if count})
        for own, message in roots.items():
            yield own, {"tree_state": message["tree_state"], "prompt": message}


def _sound_replies(
    message: Mapping[str, Any], language: str | None, where: str, left_out: Counter[str]
) -> Sequence[Mapping[str, Any]]:
    replies = message.get("replies")
    if replies is None:
        return ()
    if not isinstance(replies, Sequence) or isinstance(replies, str):
        raise RowError("no messages", where, f"has replies {shown(replies)}; it must be a list of messages")
    faults = [_fault(reply, language, where) for reply in replies]
    left_out.update(f"reply that is {fault}" for fault in faults if fault)
    return [reply for reply, fault in zip(replies, faults, strict=True) if not fault]


def _fault(message: Any, language: str | None, where: str) -> str:
    """Why a message is passed over, or nothing."""
    if not isinstance(message, Mapping):
        raise RowError("no messages", where, f"has a message {shown(message)} in its tree; it must have text and role")
    if message.get("deleted"):
        return "deleted"
    if message.get("review_result") is False:
        return "refused by reviewers"
    if language is not None and message.get("lang") != language:
        return "in another language"
    return ""


def _rank(message: Mapping[str, Any]) -> float:
    rank = message.get("rank")
    return float(rank) if isinstance(rank, int | float) else float("inf")


def _message(message: Mapping[str, Any], where: str) -> dict[str, str]:
    role, text = message.get("role"), message.get("text")
    if not isinstance(role, str) or role not in _ROLES:
        raise RowError("unknown role", where, f"has role {shown(role)}; it must be {', '.join(_ROLES)}")
    if not isinstance(text, str) or not text.strip():
        raise RowError("empty text", where, f"has text {shown(text)} in a message; it must say something")
    return {"role": _ROLES[role], "content": text}
