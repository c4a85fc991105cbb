"""The verbs and options are what people's scripts rely on: a change here is a change for users."""

import typer

from moyai.cli.main import app

VERBS = {
    "": ["--cache", "--debug", "--version", "--help"],
    "chat": ["MODEL", "--prompt", "--system", "--max-tokens", "--temperature", "--help"],
    "export": ["MODEL", "OUT.gguf", "--type", "--json", "--help"],
    "extend": [
        "MODEL",
        "OUT",
        "--corpus",
        "--pieces",
        "--init",
        "--segmentation",
        "--min-frequency",
        "--max-characters",
        "--pad-vocab-to",
        "--help",
    ],
    "fetch": ["MODEL", "OUT", "--help"],
    "merge": ["CONFIG.yml", "OUT", "--gates", "--seed", "--shard-bytes", "--help"],
    "plan": ["RECIPE", "--mini", "--set", "--json", "--help"],
    "recipes": ["--schema", "--help"],
    "recipes copy": ["NAME", "[DIR]", "--help"],
    "report": ["RUN_DIR", "--help"],
    "run": ["RECIPE", "--mini", "--out", "--until", "--set", "--help"],
    "show": ["PATH", "--text", "--against", "--json", "--help"],
    "upcycle": [
        "MODEL",
        "OUT",
        "--experts",
        "--active",
        "--method",
        "--reinit",
        "--index-sets",
        "--noise-scale",
        "--noise-share",
        "--granularity",
        "--router",
        "--router-std",
        "--seed",
        "--help",
    ],
    "verify": ["DENSE", "MOE", "--text", "--tokens", "--json", "--help"],
}


def parameters_of(command, context):
    names = []
    for parameter in command.get_params(context):
        long = [name for name in parameter.opts if name.startswith("--")]
        names.append(long[0] if long else parameter.metavar)
    return names


def walk(command, name=""):
    context = typer.Context(command, info_name=name or "moyai")
    found = {name: parameters_of(command, context)}
    for child_name, child in getattr(command, "commands", {}).items():
        found |= walk(child, f"{name} {child_name}".strip())
    return found


def test_verbs_and_options_are_frozen():
    found = walk(typer.main.get_command(app))
    assert {name: sorted(options) for name, options in found.items()} == {
        name: sorted(options) for name, options in VERBS.items()
    }


def test_every_verb_and_option_is_explained(moyai):
    for verb, options in VERBS.items():
        outcome = moyai(*verb.split(), "--help")
        assert outcome.code == 0
        assert outcome.err == ""
        assert "Usage: moyai" in outcome.out
        for option in options:
            assert option.strip("[]") in outcome.out
        assert "..." not in outcome.out.replace("[ARGS]...", "")  # no cut-off line in 80 columns
