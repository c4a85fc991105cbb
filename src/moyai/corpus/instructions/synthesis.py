"""Questions and answers made from raw text by a model: what it is asked with, and what its replies hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moyai.corpus.instructions.question_pairs import Pair
from moyai.errors import InputFileError

Dropped = Literal[
    "unfinished", "no question", "several questions", "empty question", "no answer", "several answers", "empty answer",
    "repeated question",
]  # fmt: skip

_TEXT_BEGIN, _TEXT_END = " <CON> ", " </CON>"  # the space in front belongs to the format
_QUESTION, _ANSWER, _END = "<QUE>", "<ANS>", "</END>"
_BETWEEN = "\n\n"
# The reference counts a word as so many tokens, which says nothing of Japanese; there a character counts as one.
_TOKENS_PER_WORD = 1.5
_JAPANESE_FROM = "\u3000"


@dataclass(frozen=True)
class Shot:
    """A text, what the model made of it, and whether it had the shot before it in its prompt."""

    text: str
    pairs: tuple[Pair, ...]
    follows: bool = False


Chain = tuple[Shot, ...]
"""Shots in the order in which they were made."""


def format_pairs(pairs: Sequence[Pair]) -> str:
    r"""Pairs as the model writes them; `parse_pairs` reads them back.

    Raises:
        InputFileError: a pair holds a mark of the format.

    >>> format_pairs([Pair("Who?", "I."), Pair("Where?", "Here.")])
    '<QUE> Who? <ANS> I. </END>\n\n<QUE> Where? <ANS> Here. </END>'
    """
    for pair in pairs:
        for mark in (_QUESTION, _ANSWER, _END):
            if mark in pair.question + pair.answer:
                raise InputFileError(f"a question or its answer holds {mark}, which marks where they begin and end")
    return _BETWEEN.join(f"{_QUESTION} {pair.question} {_ANSWER} {pair.answer} {_END}" for pair in pairs)


def synthesis_prompt(text: str, shots: Sequence[Shot] = (), *, bos: str = "<s>", eos: str = "</s>") -> str:
    r"""What the model is asked with to make pairs of `text`.

    Args:
        text: the raw text.
        shots: earlier texts with their pairs, in front of it.
        bos: the model's token in front of every text.
        eos: the model's token behind the pairs of a shot.

    Source: `instruction_pretrain/utils/read_compre.py` of microsoft/LMOps (arXiv 2406.14491).

    >>> synthesis_prompt("A boat.")
    '<s> <CON> A boat. </CON>\n\n'
    """

    def about(context: str) -> str:
        return f"{bos}{_TEXT_BEGIN}{context}{_TEXT_END}{_BETWEEN}"

    return "".join(f"{about(shot.text)}{format_pairs(shot.pairs)}{eos}" for shot in shots) + about(text)


def parse_pairs(reply: str) -> tuple[tuple[Pair, ...], Counter[Dropped]]:
    """The pairs in a model's reply, and how many were dropped for what reason.

    A pair counts if it is finished, has exactly one question and one answer, and neither is empty; of equal questions,
    capitals aside, the first.  (The reference joins several questions in front of one answer.)

    >>> pairs, dropped = parse_pairs("<QUE> Who? <ANS> I. </END> <QUE> who? <ANS> You. </END> <QUE> Where")
    >>> pairs, dict(dropped)
    ((Pair(question='Who?', answer='I.'),), {'unfinished': 1, 'repeated question': 1})
    """
    dropped: Counter[Dropped] = Counter()
    *finished, tail = reply.split(_END)
    if tail.strip():
        dropped["unfinished"] += 1
    found: dict[str, Pair] = {}
    for part in finished:
        parsed = _parse(part)
        if not isinstance(parsed, Pair):
            dropped[parsed] += 1
        elif parsed.question.casefold() in found:
            dropped["repeated question"] += 1
        else:
            found[parsed.question.casefold()] = parsed
    return tuple(found.values()), dropped


def _parse(part: str) -> Pair | Dropped:
    nothing, *asked = part.split(_QUESTION)
    if nothing.strip() or len(asked) != 1:
        return "several questions" if len(asked) > 1 else "no question"
    question, *answers = asked[0].split(_ANSWER)
    if len(answers) != 1:
        return "several answers" if answers else "no answer"
    pair = Pair(question.strip(), answers[0].strip())
    if not pair.question:
        return "empty question"
    return pair if pair.answer else "empty answer"


def rounds(num_texts: int, num_shots: int) -> list[range]:
    """Which texts are asked about in each round: `num_shots` rounds, each of the same number but perhaps the last.

    The text at place i of a round goes on the chain of the text at place i of the round before.

    >>> rounds(7, 3)
    [range(0, 3), range(3, 6), range(6, 7)]
    """
    size = -(-num_texts // num_shots) if num_texts else 0
    return [range(first, min(first + size, num_texts)) for first in range(0, num_texts, max(size, 1))]


def shots_before(
    chain: Chain, text: str, *, room_tokens: int, num_tokens: Callable[[str], float] | None = None
) -> Chain:
    """The shots that stand in front of the next text of a chain: the last one and all that it follows from.

    None where the last one has no pairs, or where all of them and the text do not fit.

    Args:
        chain: what was made so far.
        text: the next one.
        room_tokens: for the prompt: the model's context without its reply.
        num_tokens: of a prompt; default: `estimated_tokens`.
    """
    if not chain or not chain[-1].pairs:
        return ()
    first = max(number for number in range(len(chain)) if not chain[number].follows)
    shots = chain[first:]
    return shots if (num_tokens or estimated_tokens)(synthesis_prompt(text, shots)) <= room_tokens else ()


def extended(chain: Chain, text: str, reply: str, *, shots: Chain) -> tuple[Chain, Counter[Dropped]]:
    """The chain with what the model made of its next text, and what was dropped of the reply.

    A text of which nothing came follows from nothing.

    Args:
        chain: what was made so far.
        text: that was asked about.
        reply: the model's.
        shots: what stood in front of the text.
    """
    pairs, dropped = parse_pairs(reply)
    return (*chain, Shot(text, pairs, follows=bool(shots) and bool(pairs))), dropped


def documents(chain: Chain) -> list[Chain]:
    """The parts of a chain that become one document each: shots that follow from each other.

    >>> [len(part) for part in documents((Shot("a", ()), Shot("b", ()), Shot("c", (), follows=True)))]
    [1, 2]
    """
    parts: list[list[Shot]] = []
    for shot in chain:
        if shot.follows and parts:
            parts[-1].append(shot)
        else:
            parts.append([shot])
    return [tuple(part) for part in parts]


def document_row(shots: Chain) -> dict[str, Any]:
    """One part of `documents` as a row that `instruction_text.render_row` writes out."""
    rows = [
        {"text": shot.text, "qa": [{"question": pair.question, "answer": pair.answer} for pair in shot.pairs]}
        for shot in shots
    ]
    return rows[0] if len(rows) == 1 else {"shots": rows}


def estimated_tokens(text: str) -> float:
    """Roughly the tokens of a text: its words times 1.5, as the reference counts them, and its Japanese characters."""
    return len(text.split()) * _TOKENS_PER_WORD + sum(character >= _JAPANESE_FROM for character in text)
