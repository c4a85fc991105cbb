"""The best-ranked thread of message trees, in both published forms."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from moyai.corpus.instructions.conversations import read_conversations
from moyai.corpus.reading.broken import Broken
from moyai.errors import InputFileError

_NUMBERS = count()


def message(text: str, *replies: dict[str, Any], **other: Any) -> dict[str, Any]:
    """A message as published, with the columns that do not matter here too; roles follow from the depth."""
    return {
        "message_id": f"m{next(_NUMBERS)}", "text": text, "lang": "en", "review_count": 3, "review_result": True,
        "deleted": False, "rank": None, "synthetic": False, "emojis": {"+1": 2}, "replies": list(replies), **other,
    }  # fmt: skip


def tree(root: dict[str, Any], **other: Any) -> dict[str, Any]:
    def with_roles(one: dict[str, Any], role: str) -> dict[str, Any]:
        other_role = "assistant" if role == "prompter" else "prompter"
        return {"role": role} | one | {"replies": [with_roles(reply, other_role) for reply in one["replies"]]}

    return {
        "message_tree_id": root["message_id"], "tree_state": "ready_for_export", "prompt": with_roles(root, "prompter")
    } | other  # fmt: skip


def flat(trees: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same messages one by one, as `messages.jsonl` has them; the order is not that of the tree."""
    rows = []

    def visit(one: dict[str, Any], parent: str | None, state: str, root: str) -> None:
        for reply in one["replies"]:
            visit(reply, one["message_id"], state, root)
        kept = {key: value for key, value in one.items() if key != "replies"}
        rows.append(kept | {"parent_id": parent, "message_tree_id": root, "tree_state": state})

    for one in trees:
        visit(one["prompt"], None, one["tree_state"], one["message_tree_id"])
    return rows


TREES = [
    tree(
        message(
            "Where are boats moored?",
            message("second", rank=1),
            message("best", message("And ships?", message("Also there.", rank=0)), rank=0),
            message("unranked"),
        )
    ),
    tree(
        message(
            "ends with the assistant",
            message("deleted", rank=0, deleted=True),
            message("spam", rank=1, review_result=False),
            message("auf Deutsch", rank=2, lang="de"),
            message("not reviewed", message("a question that nobody answers"), rank=3, review_result=None),
        )
    ),
    tree(message("no ranks", message("first"), message("another"))),
    tree(message("舟", message("boat", lang="ja"), lang="ja")),
    tree(message("no answer", message("x", deleted=True))),
    tree(message("low", message("quality")), tree_state="aborted_low_grade"),
    tree(message("spam", message("x"), review_result=False)),
]
ENGLISH = [
    ["Where are boats moored?", "best", "And ships?", "Also there."],
    ["ends with the assistant", "not reviewed"],
    ["no ranks", "first"],
]
LEFT_OUT = {
    "reply that is deleted": 2,
    "reply that is refused by reviewers": 1,
    "reply that is in another language": 1,
    "tree whose first message is in another language": 1,
    "tree whose first message is refused by reviewers": 1,
    "tree without an answer": 1,
    "tree that is not ready for export": 1,
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.fixture(params=["trees", "messages"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The trees in one of the two published forms."""
    rows = TREES if request.param == "trees" else flat(TREES)
    return write(tmp_path / f"oasst.{request.param}.jsonl.gz", rows)


def test_the_best_ranked_thread_of_each_tree(path: Path) -> None:
    left_out: Counter[str] = Counter()
    found = list(read_conversations(path, language="en", left_out=left_out))
    assert [[one["content"] for one in conversation.messages] for conversation in found] == ENGLISH
    assert left_out == LEFT_OUT
    for conversation in found:
        roles = [one["role"] for one in conversation.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_every_language_where_none_is_asked_for(path: Path) -> None:
    found = [[one["content"] for one in conversation.messages] for conversation in read_conversations(path)]
    assert found == [ENGLISH[0], ["ends with the assistant", "auf Deutsch"], ENGLISH[2], ["舟", "boat"]]


def test_a_thread_is_called_as_its_tree(path: Path) -> None:
    assert [one.id for one in read_conversations(path)] == [TREES[number]["message_tree_id"] for number in range(4)]


def test_a_message_whose_parent_is_not_there(tmp_path: Path) -> None:
    rows = [row for row in flat(TREES[:1]) if row["text"] != "best"]
    left_out: Counter[str] = Counter()
    (found,) = read_conversations(write(tmp_path / "a.jsonl.gz", rows), left_out=left_out)
    assert [one["content"] for one in found.messages] == ["Where are boats moored?", "second"]
    assert left_out == {"message that answers none that is there": 1}


def test_messages_that_go_back_to_themselves(tmp_path: Path) -> None:
    rows = flat(TREES[:2])
    circle = [row for row in rows if row["text"] in ("best", "And ships?", "Also there.")]
    assert [row["text"] for row in circle] == ["Also there.", "And ships?", "best"]
    circle[2]["parent_id"] = circle[1]["message_id"]
    left_out: Counter[str] = Counter()
    found = list(read_conversations(write(tmp_path / "a.jsonl.gz", rows), language="en", left_out=left_out))
    assert [one.messages[-1]["content"] for one in found] == ["second", "not reviewed"]
    assert left_out["message that goes back to no first one"] == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (flat(TREES[2:3])[0] | {"parent_id": ["x"]}, "has parent_id ['x']; it must be text"),
        (tree(message("a")) | {"prompt": message("a") | {"replies": 5}}, "has replies 5; it must be a list"),
        (tree(message("a")) | {"prompt": message("a") | {"replies": "x"}}, "has replies 'x'; it must be a list"),
    ],
)
def test_a_broken_row_is_told_in_one_sentence(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "a.jsonl.gz", [row])
    with pytest.raises(InputFileError) as caught:
        list(read_conversations(path))
    assert str(caught.value).startswith(f"{path} line 1 {said}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"role": "robot"}, "has role 'robot'; it must be prompter, assistant"),
        ({"text": " "}, "has text ' ' in a message; it must say something"),
        ({"role": "prompter"}, "has user answering user"),
    ],
)
def test_a_broken_tree(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    rows = flat(TREES[2:4])
    rows[0] |= change
    path = write(tmp_path / "a.jsonl.gz", rows)
    with pytest.raises(InputFileError) as caught:
        list(read_conversations(path))
    assert str(caught.value) == f"{path} tree {TREES[2]['message_tree_id']} {said}"
    broken = Broken("drop")
    assert len(list(read_conversations(path, broken=broken))) == 1
    assert broken.counts.total() == 1


def test_an_id_that_was_there_before(tmp_path: Path) -> None:
    rows = flat(TREES[:1])
    with pytest.raises(InputFileError, match=r"line 7 has message_id 'm\d+'; it must be a text of its own"):
        list(read_conversations(write(tmp_path / "a.jsonl.gz", [*rows, rows[0]])))
