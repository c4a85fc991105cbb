"""What is learnt of a conversation: the assistant's words and their end marks."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from moyai.errors import InputFileError
from moyai.recipe.setting_types import LossOn
from moyai.tokenizer.chat.render import render
from moyai.tokenizer.text import TextTokenizer


@dataclass(frozen=True)
class WeightedIds:
    """Token ids of a text, and 1 for each that is learnt, 0 for the others."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class _Answer:
    """One answer of the assistant in the conversation up to its end."""

    text: str
    """As the template writes the conversation up to and with the answer."""
    first: int
    """Of the characters that the model writes itself."""
    last: int
    """Behind its end mark."""


def training_sequences(
    tokenizer: TextTokenizer, messages: Sequence[Mapping[str, str]], *, loss_on: LossOn = "all"
) -> list[WeightedIds]:
    """The sequences on which a conversation is learnt.

    Learnt is exactly what the model has to write when it is asked for an answer: all that the template puts behind
    the text with which it asks for one, up to the end mark.  Both are found by rendering prefixes of the conversation,
    which needs no help from the template.

    In front of an answer stand the very ids with which the model will be asked for it.  A conversation is one sequence
    where that can be; else each answer is a sequence of its own.  It cannot be where the template writes earlier turns
    differently once more follow (as those do which take the thoughts out of them), and where the tokenizer cuts the
    end of the question in another way once the answer follows (as GPT-2's does two newlines).

    A tokenizer that puts a space in front of every text cannot cut an answer alone, so there the text is cut at once,
    and a token that begins in the question and ends in the answer is not learnt: no answer can begin with it.  Of a
    character that is cut into several tokens all are learnt.

    Args:
        tokenizer: with the chat template.
        messages: of `role` and `content`.
        loss_on: which answers are learnt.

    Raises:
        InputFileError: the template fails, begins an answer in another way than it asks for one, or ends it without
            an end mark.
    """
    numbers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    answers = [_answer(tokenizer, messages[: number + 1]) for number in (numbers if loss_on == "all" else numbers[-1:])]
    text = render(tokenizer, messages)
    if all(text.startswith(answer.text[: answer.last]) for answer in answers):
        whole = _cut_at_once(tokenizer, text, answers)
        if whole is not None:
            return [whole]
    return [_cut_behind_question(tokenizer, answer) for answer in answers]


def _answer(tokenizer: TextTokenizer, messages: Sequence[Mapping[str, str]]) -> _Answer:
    asked = render(tokenizer, messages[:-1], for_answer=True)
    text = render(tokenizer, messages)
    if not text.startswith(asked):
        raise InputFileError(
            f"the chat template of {tokenizer.checkpoint_dir} begins an answer in another way than it asks for one, so"
            " the assistant's words cannot be told from the rest"
        )
    return _Answer(text, len(asked), len(asked) + _end(tokenizer, text[len(asked) :], messages[-1]["content"].strip()))


def _end(tokenizer: TextTokenizer, answer: str, content: str) -> int:
    """Where the end mark of an answer ends: behind it no model writes on.

    It is the first token behind the words at which generation stops; in a model whose settings do not name the
    template's end mark, the special token with which the answer ends.
    """
    # Short words may also stand within the name of a mark, so they are looked for beside the marks first.
    marks = _any_of((*tokenizer.special_tokens, *tokenizer.stop_tokens))
    beside_marks = marks.sub(lambda mark: "\0" * len(mark[0]), answer)
    places = (text.rfind(content) for text in (beside_marks, answer))
    behind = next((place + len(content) for place in places if place >= 0), 0)
    ends = [answer.index(stop, behind) + len(stop) for stop in tokenizer.stop_tokens if stop in answer[behind:]]
    if ends:
        return min(ends)
    stripped = answer.rstrip()
    if stripped.endswith(tokenizer.special_tokens):
        return len(stripped)
    raise InputFileError(
        f"the chat template of {tokenizer.checkpoint_dir} puts no end mark behind an answer, so a model would never"
        " learn to stop",
        hint="let it write eos_token there, or name one of moyai's templates as chat_template",
    )


@cache
def _any_of(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the tokens, of those that begin alike the longest."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))


def _cut_at_once(tokenizer: TextTokenizer, text: str, answers: Sequence[_Answer]) -> WeightedIds | None:
    """The whole text; None where another cut in front of an answer is wanted, and possible."""
    ids, offsets = tokenizer.encode_with_offsets(text)
    # A token without characters of its own, such as ▁ behind a special token, belongs to what follows it.
    owners = [
        next((answer for answer in answers if answer.first <= start < answer.last and stop <= answer.last), None)
        for start, stop in offsets
    ]
    if not tokenizer.puts_space_in_front:
        for answer in answers:
            if not _asked_alike(tokenizer, text[: answer.first], ids, offsets):
                return None
    return WeightedIds(ids, [float(owner is not None) for owner in owners])


def _asked_alike(
    tokenizer: TextTokenizer, question: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]
) -> bool:
    """Whether `ids` begin as the question alone is cut; only from its last special token on can they differ."""
    end = bisect_left(offsets, len(question), key=lambda offset: offset[0])
    begin = next((i for i in range(end - 1, -1, -1) if ids[i] in tokenizer.special_ids), 0)
    return tokenizer.encode(question[offsets[begin][0] :]) == list(ids[begin:end])


def _cut_behind_question(tokenizer: TextTokenizer, answer: _Answer) -> WeightedIds:
    if tokenizer.puts_space_in_front:
        whole = _cut_at_once(tokenizer, answer.text, [answer])
        assert whole is not None, "only where an answer can be cut alone another cut is wanted"
        return whole
    question = tokenizer.encode(answer.text[: answer.first])
    ids, offsets = tokenizer.encode_with_offsets(answer.text[answer.first :])
    learnt = [float(stop <= answer.last - answer.first) for _, stop in offsets]
    return WeightedIds(question + ids, [0.0] * len(question) + learnt)
