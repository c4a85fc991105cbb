"""Every common shape becomes the same messages; what is broken is named with file, row, key and value."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moyai.corpus.instructions.conversations import Conversation, read_conversations
from moyai.corpus.reading.broken import Broken
from moyai.errors import InputFileError
from moyai.recipe.sources import corpus_file

QUESTION = {"role": "user", "content": "舟とは？"}
ANSWER = {"role": "assistant", "content": "水に浮かぶ乗り物です。"}
SYSTEM = {"role": "system", "content": "短く答える。"}
SHARED_TURNS = [{"from": "human", "value": "舟とは？"}, {"from": "gpt", "value": ANSWER["content"]}]
SAME_BEFORE = {"system": "", "history": []}

SAME: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "舟とは？", "input": "", "output": ANSWER["content"]},
    "alpaca with a blank input": {"instruction": "舟とは？", "input": " \n", "output": ANSWER["content"]},
    "alpaca with nothing before": SAME_BEFORE | {"instruction": "舟とは？", "output": ANSWER["content"]},
    "alpaca without input": {"instruction": "舟とは？", "output": ANSWER["content"]},
    "dolly": {"instruction": "舟とは？", "context": "", "response": ANSWER["content"], "category": "open_qa"},
    "sharegpt": {"conversations": SHARED_TURNS},
    "messages": {"messages": [QUESTION, ANSWER]},
    "conversations of roles": {"conversations": [QUESTION, ANSWER]},
    "conversation": {"conversation": [QUESTION, ANSWER]},
    "dialogue": {"dialogue": [QUESTION, ANSWER]},
    "further keys": {"messages": [QUESTION | {"weight": 1}, ANSWER], "prompt": "舟とは？", "source": "x"},
    "prompt and completion": {"prompt": "舟とは？", "completion": ANSWER["content"]},
    "prompt and completion as messages": {"prompt": [QUESTION], "completion": [ANSWER]},
    "a blank context": {"question": "舟とは？", "context": " ", "answer": ANSWER["content"]},
    "question and answer": {"question": "舟とは？", "answer": ANSWER["content"]},
    "other columns null": {"messages": None, "chosen": None, "question": "舟とは？", "answer": ANSWER["content"]},
}


def write(path: Path, *rows: Any) -> Path:
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return path


@pytest.mark.parametrize("shape", SAME)
def test_one_question_and_its_answer_in_every_shape(tmp_path: Path, shape: str) -> None:
    (found,) = read_conversations(write(tmp_path / "a.jsonl", SAME[shape]))
    assert found == Conversation("a.jsonl:1", (QUESTION, ANSWER), f"{tmp_path / 'a.jsonl'} line 1")


@pytest.mark.parametrize("packed", ["jsonl.gz", "jsonl.zst", "parquet"])
def test_the_same_from_packed_files(tmp_path: Path, packed: str) -> None:
    rows = [{"id": 7, "conversations": SHARED_TURNS}, {"id": 8, "conversations": SHARED_TURNS[:1]}]
    plain, path = write(tmp_path / "a.jsonl", *rows), tmp_path / f"a.{packed}"
    if packed == "jsonl.gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif packed == "jsonl.zst":
        path.write_bytes(pytest.importorskip("zstandard").compress(plain.read_bytes()))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)
    found = list(read_conversations(path))
    assert [(one.id, one.messages) for one in found] == [("7", (QUESTION, ANSWER)), ("8", (QUESTION,))]


def test_what_an_instruction_is_about_stands_behind_it(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Translate.", "input": " 舟\n", "output": "boat"},
        {"instruction": "Translate.", "context": "舟", "response": "boat"},
        {"question": "What is it?", "context": "舟", "answer": "boat"},
    ]
    asked = [one.messages[0]["content"] for one in read_conversations(write(tmp_path / "a.jsonl", *rows))]
    assert asked == ["Translate.\n\n 舟\n", "Translate.\n\n舟", "舟\n\nWhat is it?"]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "舟とは？", "input": "", "output": ANSWER["content"]},
        {"conversations": SHARED_TURNS},
        {"messages": [SYSTEM, QUESTION, ANSWER], "system": "not this"},
    ],
)
def test_a_system_message_in_a_column_of_its_own(tmp_path: Path, row: dict[str, Any]) -> None:
    (found,) = read_conversations(write(tmp_path / "a.jsonl", {"system": SYSTEM["content"]} | row))
    assert found.messages == (SYSTEM, QUESTION, ANSWER)


def test_earlier_turns_in_a_column_of_their_own(tmp_path: Path) -> None:
    row = SAME["alpaca"] | {"history": [["q1", "a1"], ["q2", " a2"]]}
    before = [("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", " a2")]
    expected = (*({"role": role, "content": said} for role, said in before), QUESTION, ANSWER)
    rows = [row, row | {"system": SYSTEM["content"]}]
    found = [one.messages for one in read_conversations(write(tmp_path / "a.jsonl", *rows))]
    assert found == [expected, (SYSTEM, *expected)]


def test_nothing_is_changed_in_messages(tmp_path: Path) -> None:
    messages = [SYSTEM, {"role": "user", "content": " a \n"}, ANSWER, QUESTION, {"role": "assistant", "content": "\n\n b "}]
    (found,) = read_conversations(write(tmp_path / "a.jsonl", {"id": "x", "messages": messages}))
    assert list(found.messages) == messages
    assert found.id == "x"
    (empty,) = read_conversations(write(tmp_path / "b.jsonl", {"messages": [{"role": "system", "content": ""}, QUESTION]}))
    assert empty.messages[0]["content"] == ""


def turns(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown columns": (
        {"b": 1, "a": "x"},
        "has columns a, b; known shapes are: prompt, chosen, rejected; messages (role and content, or from and value); ",
    ),
    "no columns": ({"text": None}, "has columns none; known shapes are: "),
    "a preference": (
        {"prompt": "a", "chosen": "b", "rejected": "c"}, "is of shape 'preference', which holds no conversation"
    ),
    "no list": (turns() | {"messages": "hello"}, "has messages 'hello'; it must be a list of messages"),
    "no messages": (turns(), "has messages []; it must be a list of messages"),
    "no object": (turns("hello"), "has messages[0] 'hello'; it must have role and content"),
    "no role": (turns(QUESTION, {"content": "y"}), "has messages[1].from nothing; it must be human, gpt, system"),
    "another role": (turns(QUESTION, {"role": "tool", "content": "y"}), "has messages[1].role 'tool'; it must be system,"),
    "another speaker": (
        {"conversations": [{"from": "bing", "value": "y"}]}, "has conversations[0].from 'bing'; it must be human, gpt,"
    ),
    "no content": (turns({"role": "user"}), "has messages[0].content nothing; it must be text"),
    "content of parts": (turns(QUESTION | {"content": [{"type": "text"}]}), "has messages[0].content [{'type': 'text'}]"),
    "empty answer": (turns(QUESTION, ANSWER | {"content": " \n"}), r"has messages[1].content ' \n'; it must say something"),
    "late system": (turns(QUESTION, SYSTEM), "has a system message in messages[1]; it may only be the first"),
    "late system in a completion": (
        {"prompt": [QUESTION], "completion": [SYSTEM, ANSWER]},
        "has a system message in completion[0]; it may only be the first of the prompt",
    ),
    "a system message of parts": (
        {"messages": [QUESTION, ANSWER], "system": ["x"]}, "has system ['x']; it must be text"
    ),
    "a history of texts": (
        {"instruction": "a", "output": "b", "history": ["c"]}, "has history ['c']; it must be a list of [question, answer]"
    ),
    "an empty history": (
        {"instruction": "a", "output": "b", "history": [["c", ""]]}, "has history[0][1] ''; it must say something"
    ),
    "no output": ({"instruction": "a", "output": ""}, "has output ''; it must say something"),
    "a number": ({"question": 3, "answer": "a"}, "has question 3; it must be text"),
    "a long value": ({"question": ["x" * 99], "answer": "a"}, "has question ['" + "x" * 58 + "…; it must be text"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_row_stops_with_file_row_key_and_value(tmp_path: Path, fault: str) -> None:
    row, said = BROKEN[fault]
    path = write(tmp_path / "chat.jsonl", SAME["alpaca"], row)
    with pytest.raises(InputFileError) as caught:
        list(read_conversations(path))
    assert str(caught.value).startswith(f"{path} line 2 {said}")
    assert "\n" not in str(caught.value)


def test_or_is_dropped_and_counted(tmp_path: Path) -> None:
    rows = [row for row, _ in BROKEN.values()]
    path = write(tmp_path / "chat.jsonl", SAME["alpaca"], *rows, SAME["messages"])
    path.write_bytes(path.read_bytes() + b"{\n")
    broken = Broken("drop")
    found = list(read_conversations(path, broken=broken))
    assert [one.id for one in found] == ["chat.jsonl:1", f"chat.jsonl:{len(rows) + 2}"]
    assert broken.counts == {
        "unknown columns": 2, "no messages": 5, "unknown role": 3, "text of another type": 5, "empty text": 3,
        "late system message": 2, "not JSON": 1,
    }  # fmt: skip
    assert broken.places["late system message"] == [
        f"{path} line 14 has a system message in messages[1]; it may only be the first",
        f"{path} line 15 has a system message in completion[0]; it may only be the first of the prompt",
    ]


def test_only_one_language_where_rows_say_theirs(tmp_path: Path) -> None:
    rows = [SAME["alpaca"] | {"lang": "ja"}, SAME["alpaca"] | {"language": "en"}, SAME["alpaca"]]
    left_out: Counter[str] = Counter()
    path = write(tmp_path / "a.jsonl", *rows)
    assert [one.id for one in read_conversations(path, language="ja", left_out=left_out)] == ["a.jsonl:1", "a.jsonl:3"]
    assert left_out == {"row in another language": 1}
    assert len(list(read_conversations(path))) == 3


def test_the_starter_packs_conversations() -> None:
    found = list(read_conversations(corpus_file("starter:chat")))
    assert Counter(len(one.messages) for one in found) == {2: 317, 3: 13, 4: 43, 5: 7}


@pytest.mark.parametrize(("name", "rows"), [("ja_instruct", 10_145), ("en_instruct", 5_998)])
def test_every_row_of_real_instructions(shared_data: Callable[[str], Path], name: str, rows: int) -> None:
    found = list(read_conversations(shared_data(f"corpus/{name}/{name}.jsonl.gz")))
    assert len(found) == rows
    assert {len(one.messages) for one in found} == {2}
