"""Questions and answers written out as text, for instruction pre-training."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from moyai.corpus.instructions.conversations import row_messages
from moyai.corpus.instructions.form import InstructionForm
from moyai.corpus.instructions.oasst import top_thread
from moyai.corpus.instructions.preferences import row_preference
from moyai.corpus.instructions.question_pairs import Pair, pairs_of
from moyai.corpus.instructions.row_shapes import (
    Messages,
    RowError,
    row_language,
    says_nothing,
    shape_of,
    shown,
    text_of,
)
from moyai.recipe.corpus_settings import Language

_KANA = range(0x3041, 0x3100)
_JAPANESE_SHARE = 0.05

Example = tuple[str, Sequence[Pair]]
"""A text, and questions about it."""


def render_row(row: Mapping[str, Any], *, seed: int, where: str) -> str:
    r"""A row of questions and answers, of turns of a conversation, or of texts with questions, as one text.

    The form is drawn anew for every row, from the seed and what is in the row, so it is the same in whichever file
    the row stands.  A Japanese row gets Japanese words around its questions.

    Args:
        row: of any of the known shapes; of a preference the chosen answer is taken, of a message tree the best thread.
        seed: of what is drawn.
        where: file and row, for messages.

    Raises:
        RowError: the row has none of the known shapes, or is broken.

    >>> render_row({"question": "2 + 2?", "answer": "4"}, seed=0, where="a.jsonl line 1")
    'Q: 2 + 2?\nA: 4'
    """
    shape = shape_of(row, where)
    examples: list[Example]
    in_turns = False
    if shape == "shots":
        examples = [_example(shot, where) for shot in _list(row["shots"], where)]
    elif shape == "text with questions":
        examples = [_example(row, where)]
    elif shape == "question":
        text = "" if says_nothing(row.get("context")) else text_of(row, "context", where)
        examples = [(text, [Pair(text_of(row, "question", where), text_of(row, "answer", where))])]
    else:
        examples = [_turns(_messages(row, where), where)]
        in_turns = True
    key = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    digest = hashlib.sha256(f"{seed}\n{key}".encode("utf-8", errors="surrogatepass")).hexdigest()
    return instruction_text(examples, language=_language(row, examples), in_turns=in_turns, draw=digest)


def instruction_text(
    examples: Sequence[Example], *, language: Language, in_turns: bool = False, draw: str
) -> str:
    r"""Texts with questions, all in one form, one after the other.

    A text without questions stands as it is; where there is no text, the questions stand alone.

    Args:
        examples: what is written out.
        language: of the words around the questions.
        in_turns: the questions of an example are turns of one conversation, so their order matters.
        draw: what the form is drawn from; the same gives the same.

    >>> boat = ("The boat is moored.", [Pair("What is moored?", "The boat.")])
    >>> instruction_text([boat], language="en", draw="2")
    'Article: The boat is moored.\n\nTask: What is moored?\nSolution: The boat.'
    """
    fewest = min((len(pairs) for _, pairs in examples if pairs), default=0)
    form = InstructionForm.drawn(draw, num_pairs=fewest, language=language, in_turns=in_turns)
    return "\n\n".join(form.write(text, pairs) if pairs else text for text, pairs in examples)


def _example(row: Any, where: str) -> Example:
    if not isinstance(row, Mapping):
        raise RowError("no question", where, f"has a shot {shown(row)}; it must have text and qa")
    return text_of(row, "text", where), pairs_of(row.get("qa"), "qa", where)


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowError("no question", where, f"has shots {shown(value)}; it must be a list of text and qa")
    return value


def _messages(row: Mapping[str, Any], where: str) -> Messages:
    shape = shape_of(row, where)
    if shape == "preference":
        prompt, chosen, _ = row_preference(row, where)
        return (*prompt, {"role": "assistant", "content": chosen})
    if shape == "message tree":
        thread = top_thread(row, where, language=None, left_out=Counter())
        if not thread:
            raise RowError("no answer", where, "is a tree that gives no thread")
        return thread
    return row_messages(row, shape, where)


def _turns(messages: Messages, where: str) -> Example:
    """A system message as the text in front, and the turns as pairs."""
    system, turns = ("", messages)
    if messages[0]["role"] == "system":
        system, turns = messages[0]["content"], messages[1:]
    roles = [message["role"] for message in turns]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise RowError("roles do not alternate", where, f"has turns of {shown(roles)}; user and assistant must alternate")
    contents = [message["content"] for message in turns]
    return system, [Pair(asked, said) for asked, said in zip(contents[::2], contents[1::2], strict=True)]


def _language(row: Mapping[str, Any], examples: Sequence[Example]) -> Language:
    """What the row says, else Japanese where one character in twenty is kana."""
    named = row_language(row)
    if named is not None:
        return "ja" if named.lower().startswith("ja") else "en"
    whole = "".join(text + "".join(pair.question + pair.answer for pair in pairs) for text, pairs in examples)
    return "ja" if sum(ord(character) in _KANA for character in whole) >= _JAPANESE_SHARE * len(whole) else "en"
