import signal
import subprocess
import sys

import pytest

import moyai as package
from moyai.cli import main as program
from moyai.cli.main import globals_first
from moyai.errors import FailedError, RecipeError


def fail_with(monkeypatch, error):
    def broken(*_arguments, **_settings):
        raise error

    monkeypatch.setattr("moyai.recipe.load.load_recipe", broken)


def test_version(moyai):
    outcome = moyai("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"moyai {package.__version__}\n", "")


def test_nothing_asked_shows_the_help(moyai):
    outcome = moyai()
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Commands:" in outcome.err


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["plan"], "missing argument 'RECIPE'", "`moyai plan --help` shows what it takes"),
        (["plann"], "no such command 'plann'", "`moyai --help`"),
        (["plan", "x", "--colour"], "no such option: --colour", "`moyai plan --help`"),
        (["plan", "quickstrat"], "there is no recipe 'quickstrat'", "did you mean quickstart?"),
        (["plan", "none.yaml"], "recipe none.yaml does not exist", "`moyai recipes` lists"),
        (["plan", "quickstart", "--set", "a"], "--set a is not PATH=VALUE", "for example"),
        (["run", "quickstart", "--set", "stages.sft.epochs=-1"], "epochs' is -1", "--schema"),
        (["run", "quickstart", "--until", "evalute"], "has no stage 'evalute'", "did you mean evaluate?"),
        (["run", "quickstart", "--set", "stages.sft.data=x.jsonl"], "x.jsonl does not exist", "starter:NAME"),
        (["fetch", "not a model", "out"], "'not a model' names no model", "OWNER/NAME"),
        (["chat", "not a model"], "'not a model' names no model", "OWNER/NAME"),
        (["upcycle", "o/n", "out", "--experts", "1", "--active", "1"], "a mixture has at least 2", ""),
        (["upcycle", "o/n", "out", "--experts", "4", "--active", "9"], "active is 9, more than the 4", ""),
        (["upcycle", "o/n", "out", "--experts", "4"], "missing option '--active'", "`moyai upcycle --help`"),
        (["extend", "o/n", "out", "--corpus", "x.txt", "--pieces", "5"], "x.txt does not exist", "give"),
        (["extend", "o/n", "out", "--corpus", "starter:ja_text", "--pieces", "0"], "pieces' is 0", ""),
        (["show", "nothing"], "nothing does not exist", ""),
        (["verify", "a", "b"], "a has no config.json", "checkpoint directory"),
        (["report", "nothing"], "nothing", ""),
        (["recipes", "copy", "none"], "there is no recipe 'none'", "quickstart"),
    ],
)
def test_wrong_input_is_one_sentence_and_writes_nothing(moyai, tmp_path, words, message, hint):
    outcome = moyai(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    if hint:
        assert lines[1] == ""
        assert lines[2].startswith("hint: ")
        assert hint in lines[2]
    assert "Traceback" not in outcome.err
    assert not list((tmp_path / "work").iterdir())


def test_failed_work_is_exit_code_1(moyai, monkeypatch):
    fail_with(monkeypatch, FailedError("it broke", hint="mend it"))
    outcome = moyai("plan", "x")
    assert (outcome.code, outcome.err) == (1, "error: it broke\n\nhint: mend it\n")


def test_an_error_without_hint(moyai, monkeypatch):
    fail_with(monkeypatch, RecipeError("wrong [red]value[/red]"))
    assert moyai("plan", "x").err == "error: wrong [red]value[/red]\n"


def test_a_surprise_is_one_line(moyai, monkeypatch):
    fail_with(monkeypatch, ZeroDivisionError("by\nzero"))
    outcome = moyai("plan", "x")
    assert outcome.code == 1
    assert outcome.err == (
        "error: moyai failed: ZeroDivisionError: by zero\n\nhint: --debug shows the traceback\n"
    )


@pytest.mark.parametrize("words", [["--debug", "plan", "x"], ["plan", "x", "--debug"]])
def test_debug_shows_the_traceback(moyai, monkeypatch, words):
    fail_with(monkeypatch, FailedError("it broke"))
    outcome = moyai(*words)
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("error: it broke\n")


def test_an_interrupt_says_how_to_go_on(moyai, monkeypatch):
    fail_with(monkeypatch, KeyboardInterrupt())
    outcome = moyai("plan", "x")
    assert outcome.code == 130
    assert outcome.err == "error: interrupted\n\nhint: the same command goes on from what is finished\n"


def test_globals_may_stand_anywhere():
    assert globals_first(["run", "q", "--cache=c", "--debug"]) == ["--cache=c", "--debug", "run", "q"]
    assert globals_first(["run", "q", "--cache", "c"]) == ["--cache", "c", "run", "q"]
    assert globals_first(["run", "--", "--debug"]) == ["run", "--", "--debug"]
    assert globals_first(["run", "--cache"]) == ["--cache", "run"]


def test_cache_directory(monkeypatch, tmp_path):
    seen = []

    def loaded(*_arguments, **_settings):
        seen.append(program.typer.main.get_current_context().find_root().obj.cache_dir)
        raise RecipeError("enough")

    monkeypatch.setattr("moyai.recipe.load.load_recipe", loaded)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MOYAI_CACHE", raising=False)
    program.main(["plan", "x"])
    monkeypatch.setenv("MOYAI_CACHE", "from-env")
    program.main(["plan", "x"])
    program.main(["plan", "x", "--cache", "from-option"])
    assert [str(path) for path in seen] == [str(tmp_path / "moyai"), "from-env", "from-option"]


def test_a_reader_that_goes_away_is_no_error():
    code = "import sys; from moyai.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "recipes", "--schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() in (0, 1)
    assert error == ""


def test_ctrl_c_from_outside():
    code = (
        "import sys, time, moyai.recipe.load as load\n"
        "from moyai.cli.main import main\n"
        "def wait(*a, **k):\n    print('ready', flush=True); time.sleep(30)\n"
        "load.load_recipe = wait\n"
        "sys.exit(main(['run', 'x']))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert b"error: interrupted" in process.stderr.read()
    assert process.returncode == 130
