"""Preference pairs in every common shape."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moyai.corpus.instructions.preferences import Preference, read_preferences
from moyai.corpus.reading.broken import Broken
from moyai.errors import InputFileError
from moyai.recipe.sources import corpus_file


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


ONE_TURN: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    "messages": {"prompt": [user("q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
    "text and messages": {"prompt": "q", "chosen": [assistant("good")], "rejected": [assistant("bad")]},
    "answers with their prompt": {
        "prompt": "q", "chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]
    },
    "no prompt": {"chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
    "from and value": {
        "prompt": [{"from": "human", "value": "q"}],
        "chosen": [{"from": "gpt", "value": "good"}],
        "rejected": [{"from": "gpt", "value": "bad"}],
    },
    "whole dialogues": {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
    "a prompt that asks": {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "good", "rejected": "bad"},
    "one block": {"prompt": "User: q", "chosen": "good", "rejected": "bad"},
}  # fmt: skip


@pytest.mark.parametrize("shape", ONE_TURN)
def test_one_turn_in_every_shape(tmp_path: Path, shape: str) -> None:
    path = write(tmp_path / "a.jsonl", ONE_TURN[shape], {"id": 5} | ONE_TURN[shape])
    prompt = (user("q"),)
    assert list(read_preferences(path)) == [
        Preference("a.jsonl:1", prompt, "good", "bad", f"{path} line 1"),
        Preference("5", prompt, "good", "bad", f"{path} line 2"),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "User: a\n\nb\n\nAssistant: c\n\nUser: d", "chosen": "good", "rejected": "Human: bad"},
        {"prompt": "Human: a\n\nb\n\nAssistant: c\n\nHuman: d\n\nAssistant: ", "chosen": "good", "rejected": "Human: bad"},
        {"prompt": "Human: a\n\nb\n\nAssistant: c\n\nHuman: d", "chosen": "good", "rejected": "Human: bad"},
        {"prompt": [user("a\n\nb"), assistant("c"), user("d")], "chosen": "good", "rejected": "Human: bad"},
        {
            "chosen": [user("a\n\nb"), assistant("c"), user("d"), assistant("good")],
            "rejected": [user("a\n\nb"), assistant("c"), user("d"), assistant("Human: bad")],
        },
    ],
)
def test_several_turns(tmp_path: Path, row: dict[str, Any]) -> None:
    (found,) = read_preferences(write(tmp_path / "a.jsonl", row))
    assert found.prompt == (user("a\n\nb"), assistant("c"), user("d"))
    assert (found.chosen, found.rejected) == ("good", "Human: bad")


def test_a_mark_within_what_somebody_says(tmp_path: Path) -> None:
    prompt = "User: a\n\nAssistant: a joke:\n\nAssistant:  b\n\nUser: c"
    (found,) = read_preferences(write(tmp_path / "a.jsonl", {"prompt": prompt, "chosen": "x", "rejected": "y"}))
    assert found.prompt == (user("a"), assistant("a joke:\n\nAssistant: b"), user("c"))


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown columns": ({"question": "a", "answer": "b"}, "is of shape 'question'; a preference has prompt, chosen and"),
    "equal answers": ({"prompt": "a", "chosen": "b", "rejected": "b"}, "has chosen and rejected alike: 'b'"),
    "empty text": ({"prompt": "a", "chosen": "b", "rejected": " "}, "has rejected ' '; it must say something"),
    "text of another type": ({"prompt": 3, "chosen": "b", "rejected": "c"}, "has prompt 3; it must be a list"),
    "no question": (
        {"prompt": [user("a"), assistant("b")], "chosen": "c", "rejected": "d"}, "has a prompt in which the user does not"
    ),
    "no prompt": ({"chosen": "c", "rejected": "d"}, "has a prompt in which the user does not speak last"),
    "no messages": ({"prompt": "a", "chosen": [], "rejected": "c"}, "has chosen []; it must be a list of messages"),
    "empty answer": (
        {"chosen": "\n\nHuman: q\n\nAssistant:", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
        "has chosen[1].content ''; it must say something",
    ),
    "no answer": ({"prompt": "a", "chosen": [user("a")], "rejected": "d"}, "has chosen in which the assistant does not"),
    "two prompts": (
        {"chosen": [user("a"), assistant("b")], "rejected": [user("b"), assistant("c")]},
        "has chosen and rejected that differ before their last answer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_row_stops_with_file_row_key_and_value(tmp_path: Path, fault: str) -> None:
    row, said = BROKEN[fault]
    path = write(tmp_path / "pairs.jsonl", ONE_TURN["texts"], row)
    with pytest.raises(InputFileError) as caught:
        list(read_preferences(path))
    assert str(caught.value).startswith(f"{path} line 2 {said}")


def test_or_is_dropped_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", *(row for row, _ in BROKEN.values()), ONE_TURN["messages"])
    broken = Broken("drop")
    assert len(list(read_preferences(path, broken=broken))) == 1
    assert broken.counts == {
        "unknown columns": 1, "equal answers": 1, "empty text": 2, "no messages": 2, "no question": 2, "no answer": 1,
        "two prompts": 1,
    }  # fmt: skip


def test_only_one_language(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"lang": "ja"} | ONE_TURN["texts"], {"lang": "en"} | ONE_TURN["texts"])
    left_out: Counter[str] = Counter()
    assert [pair.id for pair in read_preferences(path, language="en", left_out=left_out)] == ["a.jsonl:2"]
    assert left_out == {"row in another language": 1}


def test_the_starter_packs_preferences() -> None:
    found = list(read_preferences(corpus_file("starter:preference")))
    assert len(found) == 160
    assert {len(pair.prompt) for pair in found} == {1}


@pytest.mark.parametrize(("name", "rows", "one_turn"), [("preference", 1_357, 1_009), ("preference_hh", 1_051, 373)])
def test_every_row_of_real_preferences(
    shared_data: Callable[[str], Path], name: str, rows: int, one_turn: int
) -> None:
    found = list(read_preferences(shared_data(f"corpus/{name}/{name}.jsonl.gz")))
    assert len(found) == rows
    assert sum(len(pair.prompt) == 1 for pair in found) == one_turn
    for pair in found:
        roles = [message["role"] for message in pair.prompt]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"], pair.place
