"""Rendering conversations with a model's own chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from moyai.errors import InputFileError
from moyai.tokenizer.text import TextTokenizer

# What a template can make Python raise: adding text to nothing, a loop over 10**9 numbers, a macro that calls itself.
_FAULTS = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)


def render(tokenizer: TextTokenizer, messages: Sequence[Mapping[str, str]], *, for_answer: bool = False) -> str:
    """The conversation as the template writes it; `for_answer` ends it where the assistant begins to speak.

    Equal to transformers' `apply_chat_template`, but that a template cannot ask for today's date: what is rendered
    does not depend on the day.

    Raises:
        InputFileError: the template cannot be rendered; it runs in jinja's sandbox.
    """
    specials = {key: text for key, text in tokenizer.special_texts.items() if text}
    try:
        template = _compiled(tokenizer.chat_template)
        return template.render(
            messages=messages, add_generation_prompt=for_answer, tools=None, documents=None, **specials
        )
    except _FAULTS as error:
        hint = "write a date into the template" if "'strftime_now' is undefined" in str(error) else ""
        raise InputFileError(f"the chat template of {tokenizer.checkpoint_dir} fails: {error}", hint=hint) from None


def prompt_ids(tokenizer: TextTokenizer, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The ids with which the model is asked for the next answer.

    The template alone says whether there is a bos token in front; none is added to it.

    Raises:
        InputFileError: as `render`.
    """
    return tokenizer.encode(render(tokenizer, messages, for_answer=True))


@lru_cache(maxsize=16)
def _compiled(source: str) -> Template:
    # As transformers sets it up, so that a template finds here what it was written for.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationMarks, "jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.filters["tojson"] = _to_json
    return environment.from_string(source)


class _GenerationMarks(Extension):
    """`{% generation %}` … `{% endgeneration %}`, which some templates put around the assistant's words."""

    tags = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Only what stands between the marks; nothing here needs to be told where the assistant speaks."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
