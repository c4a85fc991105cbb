"""Rendering conversations with a model's own chat template, and finding the assistant's words in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from moyai.errors import InputFileError
from moyai.tokenizer.text import TextTokenizer


def render(tokenizer: TextTokenizer, messages: Sequence[Mapping[str, str]], *, for_answer: bool = False) -> str:
    """The conversation as the template writes it; `for_answer` ends it where the assistant begins to speak.

    Raises:
        InputFileError: the template cannot be rendered; it runs in jinja's sandbox.
    """
    # As transformers sets it up, so that a template finds here what it was written for.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = tojson
    try:
        template = environment.from_string(tokenizer.chat_template)
        return template.render(
            messages=messages, add_generation_prompt=for_answer, tools=None, documents=None, **tokenizer.special_texts
        )
    except TemplateError as error:
        raise InputFileError(f"the chat template of {tokenizer.checkpoint_dir} fails: {error}") from None


def assistant_weights(
    tokenizer: TextTokenizer, messages: Sequence[Mapping[str, str]]
) -> tuple[list[int], list[float]]:
    """Ids of the whole conversation, and 1 for each token of the assistant's words and their end mark.

    Where the assistant speaks is found by rendering prefixes of the conversation, which needs no help from the template.

    Raises:
        InputFileError: the template does not render a conversation as a continuation of its beginning.
    """
    text = render(tokenizer, messages)
    spans = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            before = render(tokenizer, messages[:number], for_answer=True)
            through = render(tokenizer, messages[: number + 1])
            if not (text.startswith(through) and through.startswith(before)):
                raise InputFileError(
                    f"the chat template of {tokenizer.checkpoint_dir} rewrites earlier turns, so the assistant's words "
                    "cannot be told from the rest"
                )
            spans.append((len(before), len(through.rstrip("\n"))))
    ids, offsets = tokenizer.encode_with_offsets(text)
    weights = [float(any(start >= first and stop <= last for first, last in spans)) for start, stop in offsets]
    return ids, weights
