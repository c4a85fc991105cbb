"""Questions with their answers, and what is inside of them: options, and reasoning before the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moyai.corpus.instructions.row_shapes import RowError, shown, text_of

_OPTIONS, _OPTION = "\nOptions:\n- ", "\n- "
_THINK, _CONCLUSION = "\nLet's think step by step.", "\nTherefore, the answer is "


@dataclass(frozen=True)
class Pair:
    """A question and its answer, as they stand in a file."""

    question: str
    answer: str


@dataclass(frozen=True)
class PairParts:
    """What a question and its answer are made of."""

    question: str
    options: tuple[str, ...]
    """To choose from; none where the question is open."""
    reasoning: str
    """What leads to the answer; empty where it is given at once."""
    answer: str


def pair_parts(pair: Pair) -> PairParts:
    r"""Take a pair apart.

    Options are lines behind the question; reasoning is asked for behind them, and in the answer the conclusion follows
    it.  A pair that has only one half of either is left whole.

    Source: the format that microsoft/LMOps reads in `instruction_pretrain/utils/read_compre_pt.py`.

    >>> pair_parts(Pair("Which floats?\nOptions:\n- boat\n- stone", "boat")).options
    ('boat', 'stone')
    >>> reasoned = Pair("2 + 2?\nLet's think step by step.", "Count on from 2.\nTherefore, the answer is 4.")
    >>> pair_parts(reasoned).reasoning, pair_parts(reasoned).answer
    ('Count on from 2.', '4.')
    """
    question, reasoning, answer = pair.question.strip(), "", pair.answer.strip()
    thought, concluded, conclusion = answer.partition(_CONCLUSION)
    asked = question.removesuffix(_THINK)
    if asked != question and concluded and thought.strip() and conclusion.strip() and asked.strip():
        question, reasoning, answer = asked.strip(), thought.strip(), conclusion.strip()
    asked, listed, options = question.partition(_OPTIONS)
    if listed and asked.strip() and _OPTIONS not in options:
        return PairParts(asked.strip(), tuple(map(str.strip, options.split(_OPTION))), reasoning, answer)
    return PairParts(question, (), reasoning, answer)


def pairs_of(value: Any, key: str, where: str) -> tuple[Pair, ...]:
    """A list of objects with `question` and `answer` as pairs.

    Raises:
        RowError: it is no such list, or a question or an answer is no text.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RowError("no question", where, f"has {key} {shown(value)}; it must be a list of question and answer")
    for number, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise RowError("no question", where, f"has {key}[{number}] {shown(item)}; it must have question and answer")
    return tuple(Pair(text_of(item, "question", where), text_of(item, "answer", where)) for item in value)
