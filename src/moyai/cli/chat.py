"""moyai chat: talk with a model."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from moyai.cli.arguments import ModelName


def chat(
    *,
    context: typer.Context,
    model: ModelName,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Answer this one message and stop.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The system message.")] = None,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Longest answer.")] = 512,
    temperature: Annotated[
        float, typer.Option(metavar="T", min=0.0, help="0 always takes the likeliest token.")
    ] = 0.7,
) -> None:
    """Talk with a model on this machine."""
    from moyai.cli.progress import make_progress
    from moyai.cli.session import session_of
    from moyai.recipe.sources import parse_model

    source = parse_model(model)

    from moyai.checkpoint.sources import resolve_model
    from moyai.generation.chat import answer_once, chat_loop, typed_lines
    from moyai.generation.gguf_cache import gguf_for
    from moyai.generation.llama_cpp import LlamaCpp

    cache_dir, progress = session_of(context).cache_dir, make_progress()
    path = gguf_for(resolve_model(source, cache_dir, progress), cache_dir, progress)
    settings: Any = {
        "system": system,
        "write": _write,
        "max_tokens": max_tokens,
        "temperature": temperature,
    }
    with LlamaCpp(path) as loaded:
        if prompt is not None:
            answer_once(loaded, prompt, **settings)
            return
        # the prompt sign belongs to the person at the keyboard, not to what is piped in
        lines = typed_lines() if sys.stdin.isatty() else sys.stdin
        chat_loop(loaded, input_lines=lines, **settings)


def _write(text: str) -> None:
    print(text, end="", flush=True)
