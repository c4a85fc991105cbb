"""The verbs that do something, with the engines behind them replaced."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from cli.conftest import write_record
from moyai.errors import FailedError


def replace_module(monkeypatch, name, **members):
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def runner(monkeypatch):
    """`run_recipe` that writes one artifact a stage and keeps what it was called with."""
    calls, reported = [], []

    def run_recipe(recipe, *, out_dir, until, cache_dir, progress):
        calls.append(SimpleNamespace(recipe=recipe, out_dir=out_dir, until=until, cache_dir=cache_dir))
        done = []
        for number, step in enumerate(recipe.steps()):
            directory = out_dir / f"{number:02d}-{step.name}"
            if not directory.exists():
                assert not reported, "the report comes last"
                record = write_record(directory, step.name, {"seed": getattr(step.settings, "seed", None)})
            done.append((directory, record))
        return done

    replace_module(monkeypatch, "moyai.run.runner", run_recipe=run_recipe)
    replace_module(
        monkeypatch,
        "moyai.report",
        summary_table=lambda run_dir: f"summary of {run_dir}",
        build_report=reported.append,
    )
    return calls


def test_run(moyai, runner, tmp_path):
    outcome = moyai("run", "quickstart", "--until", "extend", "--set", "stages.extend.pieces=5")
    assert outcome.code == 0, outcome.err
    (call,) = runner
    assert str(call.out_dir) == "runs/quickstart"
    assert call.until == "extend"
    assert call.cache_dir == tmp_path / "cache"
    assert call.recipe.steps()[1].settings.pieces == 5
    assert outcome.out == "summary of runs/quickstart\n"
    assert "quickstart: about" in outcome.err


def test_run_mini_and_out(moyai, runner):
    moyai("run", "quickstart", "--mini")
    moyai("run", "quickstart", "--mini", "--out", "elsewhere")
    assert [str(call.out_dir) for call in runner] == ["runs/quickstart-mini", "elsewhere"]


@pytest.fixture
def single(monkeypatch):
    """`run_single_stage` that writes a record and keeps what it was called with."""
    calls = []

    def run_single_stage(recipe, *, out_dir, cache_dir, progress):
        _, step = recipe.steps()
        calls.append(SimpleNamespace(base=recipe.base, step=step, out_dir=out_dir, cache_dir=cache_dir))
        if out_dir.is_dir():
            out_dir.rmdir()
        return write_record(out_dir, step.name, {})

    replace_module(monkeypatch, "moyai.run.single_stage", run_single_stage=run_single_stage)
    return calls


def test_upcycle_is_one_stage(moyai, single, tmp_path):
    words = ["upcycle", tmp_path, "deep/out", "--experts", "4", "--active", "2", "--method", "drop"]
    outcome = moyai(*words, "--reinit", "0.25", "--seed", "7", "--index-sets", "shared", "--router", "uniform")
    assert (outcome.code, outcome.out) == (0, "deep/out\n"), outcome.err
    (call,) = single
    assert (call.base, call.step.kind) == (str(tmp_path), "upcycle")
    wanted = {"experts": 4, "active": 2, "method": "drop", "reinit": 0.25, "seed": 7}
    wanted |= {"index_sets": "shared", "router": "uniform", "noise_scale": 0.02}
    assert call.step.settings.model_dump(include=set(wanted)) == wanted


def test_settings_that_do_not_go_together_are_told_before_anything_is_made(moyai, single, tmp_path):
    words = ["upcycle", tmp_path, "out", "--experts", "4", "--active", "2", "--method", "virtual-group"]
    outcome = moyai(*words, "--granularity", "3")
    assert outcome.code == 2
    assert "experts is 4, not a multiple of granularity" in outcome.err
    assert not single


def test_extend_takes_several_texts(moyai, single, tmp_path):
    words = ["extend", tmp_path, "out", "--corpus", "starter:ja_text", "--corpus", "starter:en_text"]
    assert moyai(*words, "--pieces", "12").code == 0
    assert single[0].step.settings.corpus == ("starter:ja_text", "starter:en_text")
    assert single[0].step.settings.pieces == 12


def test_extend_takes_its_settings(moyai, single, tmp_path):
    words = ["extend", tmp_path, "out", "--corpus", "starter:ja_text", "--pieces", "12", "--init", "best"]
    words += ["--segmentation", "words", "--min-frequency", "3", "--max-characters", "8", "--pad-vocab-to", "128"]
    assert moyai(*words).code == 0
    wanted = {
        "init": "best", "segmentation": "words", "min_frequency": 3, "max_characters": 8, "pad_vocab_to": 128
    }  # fmt: skip
    assert single[0].step.settings.model_dump(include=set(wanted)) == wanted
    outcome = moyai("extend", tmp_path, "other", "--corpus", "starter:ja_text", "--pieces", "12", "--init", "random")
    assert outcome.code == 2
    assert "random" in outcome.err


def test_single_stages_never_write_over_anything(moyai, single, tmp_path):
    (tmp_path / "out").mkdir()
    words = ["upcycle", tmp_path, tmp_path / "out", "--experts", "4", "--active", "2"]
    assert moyai(*words).code == 0  # empty: taken
    outcome = moyai(*words)
    assert outcome.code == 2
    assert "out exists already" in outcome.err
    assert len(single) == 1


def test_fetch_appears_whole_or_not_at_all(moyai, monkeypatch, tmp_path):
    def fetch(model, out_dir, cache_dir, progress):
        (out_dir / "config.json").write_text(model)
        if model == "o/broken":
            raise FailedError("cut off")

    replace_module(monkeypatch, "moyai.stages.init", fetch=fetch)
    # a submodule that is loaded already is found as an attribute of its package, not in sys.modules
    monkeypatch.setattr("moyai.stages.init", sys.modules["moyai.stages.init"], raising=False)
    assert moyai("fetch", "o/broken", "out").code == 1
    assert not list((tmp_path / "work").iterdir())
    outcome = moyai("fetch", "o/n", "out")
    assert (outcome.code, outcome.out) == (0, "out\n")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["out"]
    assert moyai("fetch", "o/n", "out").code == 2


def test_report_prints_what_it_wrote(moyai, monkeypatch):
    replace_module(
        monkeypatch,
        "moyai.report",
        build_report=lambda run_dir: SimpleNamespace(card=f"{run_dir}/c", page="p"),
    )
    assert moyai("report", "here").out == "here/c\np\n"


@pytest.fixture
def chat_engine(monkeypatch):
    class Loaded:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            return self

        def __exit__(self, *_error):
            pass

        def chat(self, messages, *, max_tokens, temperature):
            yield f"{len(messages)} messages, "
            yield f"{messages[-1]['content']}, {max_tokens}, {temperature}"

    replace_module(monkeypatch, "moyai.checkpoint.sources", resolve_model=lambda source, *_: source.path)
    replace_module(monkeypatch, "moyai.generation.gguf_cache", gguf_for=lambda path, *_: path)
    replace_module(monkeypatch, "moyai.generation.llama_cpp", LlamaCpp=Loaded)


def test_chat_answers_one_prompt(moyai, chat_engine):
    words = ["chat", "a.gguf", "--prompt", "やあ", "--system", "s", "--max-tokens", "9", "--temperature", "0"]
    assert moyai(*words).out == "2 messages, やあ, 9, 0.0\n"


def test_chat_reads_lines_from_a_pipe(moyai, chat_engine, monkeypatch):
    class Lines(list):
        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdin", Lines(["one\n", "two\n", "/quit\n", "three\n"]))
    outcome = moyai("chat", "a.gguf")
    assert outcome.out.splitlines() == ["1 messages, one, 512, 0.7", "3 messages, two, 512, 0.7"]
