"""Questions and answers written out as text: in the published mix, and nothing of them lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.corpus.instructions.form import FEW_PAIRS, IN_TURNS, SEVERAL_PAIRS, InstructionForm, Mode
from moyai.corpus.instructions.question_pairs import Pair, PairParts, pair_parts
from moyai.corpus.instructions.row_shapes import RowError
from moyai.corpus.instructions.text import instruction_text, render_row
from moyai.corpus.instructions.wording import WORDING
from moyai.corpus.reading.documents import read_rows
from moyai.recipe.corpus_settings import Language
from moyai.recipe.sources import corpus_file

NUM_DRAWS = 8_000
PAIRS = [
    Pair("Which floats?\nOptions:\n- a boat\n- a stone", "a boat"),
    Pair("How many are 2 and 2?\nLet's think step by step.", "Count on from 2.\nTherefore, the answer is 4"),
    Pair("Braces {answer} stay", "{question}, too"),
]


def draws(num_pairs: int, *, in_turns: bool = False) -> list[InstructionForm]:
    return [
        InstructionForm.drawn(str(number), num_pairs=num_pairs, language="en", in_turns=in_turns)
        for number in range(NUM_DRAWS)
    ]


@pytest.mark.parametrize(
    ("num_pairs", "in_turns", "weights"),
    [(1, False, FEW_PAIRS), (2, False, SEVERAL_PAIRS), (9, False, SEVERAL_PAIRS), (1, True, FEW_PAIRS), (2, True, IN_TURNS)],
)
def test_the_published_mix(num_pairs: int, in_turns: bool, weights: dict[Mode, int]) -> None:
    forms = draws(num_pairs, in_turns=in_turns)
    counts = Counter(form.mode for form in forms)
    for mode, weight in weights.items():
        share = weight / sum(weights.values())
        assert abs(counts[mode] - NUM_DRAWS * share) < 4 * sqrt(NUM_DRAWS * share * (1 - share)), mode
    assert set(counts) == set(weights)
    asked_first = [form for form in forms if form.questions_first]
    assert {form.mode for form in asked_first} <= {"classic", "dialogue"}
    possible = 0 if in_turns else counts["classic"] + counts["dialogue"]
    assert abs(len(asked_first) - possible * 0.05) <= 4 * sqrt(possible * 0.05 * 0.95)


def test_the_weights_are_the_published_ones() -> None:
    assert FEW_PAIRS == {"classic": 95, "dialogue": 5}
    assert SEVERAL_PAIRS == {"classic": 80, "dialogue": 5, "numbered": 5, "few-shot": 5, "next turn": 5}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_form_says_everything_in_order(language: Language) -> None:
    seen = set()
    for number in range(600):
        form = InstructionForm.drawn(str(number), num_pairs=3, language=language)
        text = form.write("The text.", PAIRS)
        seen.add((form.mode, form.questions_first))
        places = [text.find(word) for word in ("Which floats?", "How many are 2 and 2?", "Braces {answer} stay")]
        answers = [text.rfind(word) for word in ("a boat", "4", "{question}, too")]
        assert -1 not in places + answers
        assert places == sorted(places), form
        assert answers == sorted(answers), form
        assert all(asked < said for asked, said in zip(places, answers, strict=True)), form
        assert text.count("Count on from 2.") == 1
        assert text.count("The text.") == 1
        assert (text.find("The text.") > places[0]) == form.questions_first
        assert "Options:\n- a boat\n- a stone" not in text or "Options:" in form.wording.options
        assert "Therefore, the answer is" not in text
    assert len(seen) >= 6
    modes = {mode for mode, _ in seen}
    assert modes == set(SEVERAL_PAIRS)


@pytest.mark.parametrize("mode", ["numbered", "few-shot", "next turn"])
def test_modes_that_take_pairs_apart(mode: Mode) -> None:
    form = next(form for form in draws(3) if form.mode == mode)
    text = form.write("", [Pair("q1", "a1"), Pair("q2", "a2"), Pair("q3", "a3")])
    order = [text.index(word) for word in ("q1", "q2", "q3", "a1", "a2", "a3")]
    if mode == "numbered":
        assert order == sorted(order)
        assert "1. q1\n2. q2\n3. q3\n\n" in text
    else:
        assert text.count("\n\n") == (2 if mode == "few-shot" else 1)
        assert text.index("a2") < text.rindex("\n\n") < text.index("q3")


@pytest.mark.parametrize(
    ("label", "third"), [("- ", "- "), ("A. ", "C. "), ("(a) ", "(c) "), ("1. ", "3. "), ("(1) ", "(3) ")]
)
def test_options_are_labelled_in_order(label: str, third: str) -> None:
    form = next(form for form in draws(1) if form.mode == "classic" and form.label == label)
    lines = form.write("", [Pair("q\nOptions:\n- x\n- y\n- z", "z")]).splitlines()
    assert [line for line in lines if line.endswith((" x", " y", " z"))][:3] == [
        f"{label}x", f"{label.replace('A', 'B').replace('a', 'b').replace('1', '2')}y", f"{third}z"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "last"), [("- ", "- "), ("A. ", "27. "), ("(a) ", "(27) "), ("1. ", "27. "), ("(1) ", "(27) ")]
)
def test_more_options_than_letters_are_numbered(label: str, last: str) -> None:
    form = next(form for form in draws(1) if form.mode == "classic" and form.label == label)
    for count, expected in ((27, last), (26, label.replace("A", "Z").replace("a", "z").replace("1", "26"))):
        options = "\n".join(f"- option {number}" for number in range(count))
        lines = form.write("", [Pair(f"q\nOptions:\n{options}", "x")]).splitlines()
        assert f"{expected}option {count - 1}" in lines


@pytest.mark.parametrize(
    "pair",
    [
        Pair("q\nLet's think step by step.", "because"),
        Pair("q", "because\nTherefore, the answer is 4"),
        Pair("q\nLet's think step by step.", "\nTherefore, the answer is 4"),
        Pair("\nOptions:\n- a\n- b", "a"),
        Pair("q\nOptions:\n- a\nOptions:\n- b", "a"),
    ],
)
def test_halves_of_a_format_stay_whole(pair: Pair) -> None:
    assert pair_parts(pair) == PairParts(pair.question.strip(), (), "", pair.answer.strip())


def test_options_and_reasoning_together() -> None:
    pair = Pair("q?\nOptions:\n- a\n- b\nLet's think step by step.", "since\nTherefore, the answer is b")
    assert pair_parts(pair) == PairParts("q?", ("a", "b"), "since", "b")


said = st.text(min_size=1).filter(lambda text: bool(text.strip()))


@given(said, said, st.integers(0, 5))
def test_plain_words_stand_there_as_they_are(question: str, answer: str, seed: int) -> None:
    if pair_parts(Pair(question, answer)) == PairParts(question.strip(), (), "", answer.strip()):
        text = render_row({"question": question, "answer": answer}, seed=seed, where="row 1")
        assert question.strip() in text
        assert text.endswith(answer.strip())


SHAPES: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "q1", "input": "quay", "output": "a1"},
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "q1"}, {"from": "gpt", "value": "a1"},
            {"from": "human", "value": "q2"}, {"from": "gpt", "value": "a2"},
        ]
    },
    "messages": {"messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "a1"},
    ]},
    "completion": {"prompt": "q1", "completion": "a1"},
    "preference": {"prompt": "q1", "chosen": "a1", "rejected": "not this"},
    "question": {"question": "q1", "answer": "a1", "context": "quay"},
    "text": {"text": "quay", "qa": [{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}]},
    "shots": {"shots": [
        {"text": "pier", "qa": [{"question": "q1", "answer": "a1"}]},
        {"text": "jetty", "qa": [{"question": "q2", "answer": "a2"}]},
    ]},
    "tree": {"message_tree_id": "t", "prompt": {"text": "q1", "role": "prompter", "replies": [
        {"text": "a1", "role": "assistant", "rank": 0}, {"text": "not this", "role": "assistant", "rank": 1},
    ]}},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(30))
def test_every_shape(shape: str, seed: int) -> None:
    row = SHAPES[shape]
    text = render_row(row, seed=seed, where="row 1")
    every = ("q1", "a1", "q2", "a2", "quay", "Be short.", "pier", "jetty")
    words = [word for word in every if f'"{word}"' in json.dumps(row)]
    assert all(text.count(word) == 1 for word in words)
    assert "not this" not in text
    if shape in ("sharegpt", "shots", "messages"):
        assert text.index("q1") < text.index("a1") < (text.index("q2") if "q2" in words else len(text))
    if shape == "messages":
        assert text.startswith("Be short.\n\n")
    if shape == "alpaca":
        assert "q1\n\nquay" in text


def test_a_raw_text_without_questions() -> None:
    assert render_row({"text": " raw\n", "qa": []}, seed=0, where="row 1") == " raw\n"


def test_texts_of_one_chain_are_in_one_form() -> None:
    shots = [{"text": f"text {n}", "qa": [{"question": f"q{n}", "answer": f"a{n}"}]} for n in range(3)]
    for seed in range(20):
        first, second, third = (
            part.replace(str(n), "N")
            for n, part in enumerate(
                instruction_text([(f"text {n}", [Pair(f"q{n}", f"a{n}")])], language="en", draw=str(seed)) for n in range(3)
            )
        )
        assert first == second == third
    whole = render_row({"shots": [shots[0], {"text": "raw", "qa": []}, shots[1]]}, seed=0, where="row 1")
    assert "\n\nraw\n\n" in whole


def test_same_seed_and_row_same_text_in_whichever_file() -> None:
    row = SHAPES["text"]
    texts = [render_row(row, seed=seed, where=f"row {seed}") for seed in range(40)]
    assert texts == [render_row(dict(reversed(row.items())), seed=seed, where="elsewhere") for seed in range(40)]
    assert len(set(texts)) > 20
    others = {render_row(row | {"id": number}, seed=0, where="row 1") for number in range(40)}
    assert len(others) > 20, "equal rows of other names are written in other forms"


@pytest.mark.parametrize(
    ("row", "language"),
    [
        ({"question": "舟とは何ですか。", "answer": "乗り物です。"}, "ja"),
        ({"question": "What is 舟?", "answer": "A boat."}, "en"),
        ({"question": "What is 舟?", "answer": "A boat.", "lang": "ja"}, "ja"),
        ({"question": "舟とは何ですか。", "answer": "乗り物です。", "language": "en"}, "en"),
    ],
)
def test_words_of_the_rows_language(row: dict[str, str], language: Language) -> None:
    starts = {style.before_question for style in WORDING[language].pairs}
    starts |= {head + asks for head in WORDING[language].dialogue for asks, _ in WORDING[language].speakers}
    for seed in range(60):
        text = render_row(row, seed=seed, where="row 1")
        assert text[: text.index(row["question"])] in starts


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"body": "x"}, "has columns body; known shapes are"),
        ({"text": "x"}, "has columns text; known shapes are"),
        ({"text": "x", "qa": "y"}, "has qa 'y'; it must be a list of question and answer"),
        ({"text": "x", "qa": ["y"]}, "has qa[0] 'y'; it must have question and answer"),
        ({"text": "x", "qa": [{"question": "y"}]}, "has answer nothing; it must be text"),
        ({"shots": []}, "has shots []; it must be a list of text and qa"),
        ({"shots": ["x"]}, "has a shot 'x'; it must have text and qa"),
        ({"messages": [{"role": "user", "content": "x"}]}, "has turns of ['user']; user and assistant must alternate"),
        ({"message_id": "a", "text": "b", "role": "prompter"}, "is of shape 'tree message', which holds no conversation"),
        ({"message_tree_id": "a", "prompt": {"text": "b", "role": "prompter"}}, "is a tree that gives no thread"),
    ],
)
def test_broken_rows(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError) as caught:
        render_row(row, seed=0, where="a.jsonl line 3")
    assert str(caught.value).startswith(f"a.jsonl line 3 {said}")


@pytest.mark.parametrize("name", ["starter:chat", "starter:preference"])
def test_the_starter_pack(name: str) -> None:
    texts = [render_row(row, seed=0, where=name) for row in read_rows(corpus_file(name))]
    assert all(texts)


@pytest.mark.parametrize("name", ["ja_instruct", "en_instruct"])
def test_real_rows(shared_data: Callable[[str], Path], name: str) -> None:
    for row in read_rows(shared_data(f"corpus/{name}/{name}.jsonl.gz")):
        text = render_row(row, seed=0, where=name)
        assert row["instruction"].strip() in text
        assert row["output"].strip() in text
