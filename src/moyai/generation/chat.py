"""Talking with a model in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Protocol

from moyai.errors import UserError

_HELP = "/reset forgets the conversation, /quit ends it"


class ChatModel(Protocol):
    """What answers: `LlamaCpp`, or a stand-in for it."""

    def chat(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float
    ) -> Generator[str]:
        """The answer in pieces."""


def chat_loop(
    model: ChatModel,
    *,
    system: str | None,
    input_lines: Iterable[str],
    write: Callable[[str], None],
    max_tokens: int = 512,
    temperature: float = 0.0,
) -> None:
    """Answer line after line until `/quit`, the end of the lines, or Ctrl-C where no answer is under way.

    Ctrl-C within an answer stops the answer; what was said of it stays in the conversation.  A turn that the
    model cannot take (the context is full) is told and taken back.

    Args:
        model: what answers.
        system: the system message, where one is wanted.
        input_lines: what the person types.
        write: takes every piece of text that the person shall see; lines end in a newline.
        max_tokens: of each answer.
        temperature: 0 is greedy.
    """
    ask = partial(model.chat, max_tokens=max_tokens, temperature=temperature)
    history = _beginning(system)
    try:
        for line in input_lines:
            text = line.strip()
            if text == "/quit":
                return
            if text == "/reset":
                history = _beginning(system)
                write("(a new conversation)\n")
            elif text.startswith("/"):
                write(f"({_HELP})\n")
            elif text:
                history = _turn(ask, history, text, write)
    except KeyboardInterrupt:
        write("\n")


def answer_once(
    model: ChatModel,
    prompt: str,
    *,
    system: str | None,
    write: Callable[[str], None],
    max_tokens: int = 512,
    temperature: float = 0.0,
) -> str:
    """Answer one prompt, write it piece by piece with a newline at the end, and return it.

    Raises:
        UserError: the prompt is longer than the context.
    """
    said = []
    messages = [*_beginning(system), {"role": "user", "content": prompt}]
    for piece in model.chat(messages, max_tokens=max_tokens, temperature=temperature):
        write(piece)
        said.append(piece)
    write("\n")
    return "".join(said)


def typed_lines(prompt: str = "> ") -> Iterator[str]:
    """The lines that a person types at a prompt, until end of file."""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        yield line


def _beginning(system: str | None) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}] if system else []


def _turn(
    ask: Callable[[Sequence[Mapping[str, str]]], Generator[str]],
    history: list[dict[str, str]],
    text: str,
    write: Callable[[str], None],
) -> list[dict[str, str]]:
    """The history after one more turn."""
    asked = [*history, {"role": "user", "content": text}]
    said: list[str] = []
    try:
        # Closed at once, not when it happens to be collected: that is what makes the model stop.
        with closing(ask(asked)) as pieces:
            for piece in pieces:
                said.append(piece)
                write(piece)
        write("\n")
    except KeyboardInterrupt:
        write(" (stopped)\n")
    except UserError as error:
        write(f"({error}; {error.hint})\n")
        return history
    answer = "".join(said)
    return [*asked, {"role": "assistant", "content": answer}] if answer else history
