"""Pairs synthesised from raw text: what is written is read back, and what is dropped has a reason."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.corpus.instructions.question_pairs import Pair
from moyai.corpus.instructions.synthesis import (
    Chain,
    Shot,
    document_row,
    documents,
    estimated_tokens,
    extended,
    format_pairs,
    parse_pairs,
    rounds,
    shots_before,
    synthesis_prompt,
)
from moyai.corpus.instructions.text import render_row
from moyai.errors import InputFileError

MARKS = ("<QUE>", "<ANS>", "</END>")
said = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(
    lambda text: bool(text) and not any(mark in text for mark in MARKS)
)
pairs = st.lists(st.builds(Pair, said, said), unique_by=lambda pair: pair.question.casefold())


@given(pairs)
def test_what_is_written_is_read_back(written: list[Pair]) -> None:
    assert parse_pairs(format_pairs(written)) == (tuple(written), Counter())


@given(pairs.filter(bool), st.integers(0, 10**6))
def test_of_a_reply_that_is_cut_off_the_finished_pairs_are_read(written: list[Pair], cut: int) -> None:
    whole = format_pairs(written)
    reply = whole[: cut % (len(whole) + 1)]
    found, dropped = parse_pairs(reply)
    assert list(found) == written[: reply.count("</END>")]
    assert set(dropped) <= {"unfinished"}


@given(st.lists(st.sampled_from([*MARKS, "a", "A", " ", "\n\n", "舟"])).map("".join))
def test_whatever_a_model_writes(reply: str) -> None:
    found, dropped = parse_pairs(reply)
    assert parse_pairs(format_pairs(found)) == (found, Counter()), "no pair holds a mark, is empty or is there twice"
    tail = bool(reply.rsplit("</END>", 1)[-1].strip())
    assert len(found) + dropped.total() == reply.count("</END>") + tail, "each part is a pair or has a reason"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("<QUE> q <ANS> a", "unfinished"),
        ("q <ANS> a </END>", "no question"),
        ("So: <QUE> q <ANS> a </END>", "no question"),
        ("</END>", "no question"),
        ("<QUE> q <QUE> r <ANS> a </END>", "several questions"),
        ("<QUE> <ANS> a </END>", "empty question"),
        ("<QUE> q </END>", "no answer"),
        ("<QUE> q <ANS> a <ANS> b </END>", "several answers"),
        ("<QUE> q <ANS>\n</END>", "empty answer"),
        ("<QUE> WHO? <ANS> a </END>", "repeated question"),
    ],
)
def test_every_reason(part: str, reason: str) -> None:
    found, dropped = parse_pairs(f"<QUE> Who? <ANS> I. </END>\n\n{part}")
    assert found == (Pair("Who?", "I."),)
    assert dropped == {reason: 1}


@pytest.mark.parametrize("mark", MARKS)
def test_a_pair_that_holds_a_mark_is_not_written(mark: str) -> None:
    with pytest.raises(InputFileError, match=f"holds {mark}"):
        format_pairs([Pair("q", f"a {mark}")])


def test_the_prompt_with_and_without_shots() -> None:
    one, two = Pair("q1", "a1"), Pair("q2", "a2")
    assert synthesis_prompt("T") == "<s> <CON> T </CON>\n\n"
    assert synthesis_prompt("T", [Shot("R", (one, two)), Shot("S", (one,))]) == (
        "<s> <CON> R </CON>\n\n<QUE> q1 <ANS> a1 </END>\n\n<QUE> q2 <ANS> a2 </END></s>"
        "<s> <CON> S </CON>\n\n<QUE> q1 <ANS> a1 </END></s>"
        "<s> <CON> T </CON>\n\n"
    )
    assert synthesis_prompt("T", [Shot("S", (one,))], bos="", eos="<|end|>").count("<|end|>") == 1


@given(st.integers(0, 200), st.integers(1, 20))
def test_rounds_take_every_text_once(num_texts: int, num_shots: int) -> None:
    planned = rounds(num_texts, num_shots)
    assert [i for part in planned for i in part] == list(range(num_texts))
    assert len(planned) <= num_shots
    sizes = [len(part) for part in planned]
    assert all(size == -(-num_texts // num_shots) for size in sizes[:-1])
    assert sizes == sorted(sizes, reverse=True), "each text has a text before it on its chain"


def run(replies: list[str], room_tokens: int = 10**6) -> tuple[Chain, list[Chain]]:
    """A chain of texts t0, t1, ... to which a model replies so; and the shots in front of each."""
    chain: Chain = ()
    before = []
    for number, reply in enumerate(replies):
        shots = shots_before(chain, f"t{number}", room_tokens=room_tokens)
        chain, _ = extended(chain, f"t{number}", reply, shots=shots)
        before.append(shots)
    return chain, before


def test_a_text_follows_the_ones_before_it() -> None:
    chain, before = run(["<QUE> a <ANS> b </END>"] * 3)
    assert [[shot.text for shot in shots] for shots in before] == [[], ["t0"], ["t0", "t1"]]
    assert [shot.follows for shot in chain] == [False, True, True]
    assert documents(chain) == [chain]


def test_a_text_without_pairs_ends_a_chain() -> None:
    good, nothing = "<QUE> a <ANS> b </END>", "nothing"
    chain, before = run([good, nothing, good, good])
    assert [[shot.text for shot in shots] for shots in before] == [[], ["t0"], [], ["t2"]]
    assert [[shot.text for shot in part] for part in documents(chain)] == [["t0"], ["t1"], ["t2", "t3"]]


def test_all_shots_are_left_out_where_they_do_not_fit() -> None:
    good = "<QUE> a <ANS> b </END>"
    room = int(estimated_tokens(synthesis_prompt("t2", [Shot("t0", (Pair("a", "b"),)), Shot("t1", (Pair("a", "b"),))])))
    chain, before = run([good] * 4, room_tokens=room)
    assert [[shot.text for shot in shots] for shots in before] == [[], ["t0"], ["t0", "t1"], []]
    assert [len(part) for part in documents(chain)] == [3, 1]
    assert shots_before(chain, "t4", room_tokens=5, num_tokens=lambda _: 5.0) == chain[3:]
    assert shots_before(chain, "t4", room_tokens=4, num_tokens=lambda _: 5.0) == ()


def test_japanese_counts_by_characters() -> None:
    assert estimated_tokens("two words") == 3.0
    assert estimated_tokens("舟は岸に。") >= 5.0


def test_what_was_made_can_be_written_out() -> None:
    chain, _ = run(["<QUE> a <ANS> b </END>", "<QUE> c <ANS> d </END>", "nothing"])
    whole, raw = [render_row(document_row(part), seed=0, where="row 1") for part in documents(chain)]
    assert all(word in whole for word in ("t0", "t1", "a", "b", "c", "d"))
    assert raw == "t2"
