"""Planning, recipes, showing and reporting need no torch, and the help needs next to nothing."""

import json
import subprocess
import sys

import gguf
import numpy as np
import pytest

BLOCKED = ("torch", "transformers", "accelerate", "xllamacpp")
BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
from moyai.cli.main import main
code = main()
print(",".join(sorted({{name.split(".")[0] for name in sys.modules}})), file=sys.stderr)
sys.exit(code)
"""


def run_blocked(*words):
    command = [sys.executable, "-c", BLOCKER, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def loaded_modules(done):
    return set(done.stderr.splitlines()[-1].split(","))


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["upcycle", "--help"],
        ["recipes"],
        ["recipes", "--schema"],
        ["plan", "quickstart"],
        ["plan", "quickstart", "--mini", "--json"],
    ],
    ids=" ".join,
)
def test_works(words):
    done = run_blocked(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_loads_next_to_nothing():
    heavy = {"torch", "transformers", "numpy", "matplotlib", "huggingface_hub", "pydantic", "yaml", "jinja2"}
    assert not heavy & loaded_modules(run_blocked("--help"))


def test_plan_loads_no_arrays_and_no_plots():
    assert not {"numpy", "matplotlib", "huggingface_hub"} & loaded_modules(run_blocked("plan", "quickstart"))


def test_show_on_weights_texts_and_runs(written_run, checkpoint_dir):
    for path in (
        written_run,
        written_run / "01-extend",
        checkpoint_dir,
        checkpoint_dir / "model.safetensors",
    ):
        done = run_blocked("show", path, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["kind"]


def test_wrong_input():
    done = run_blocked("plan", "nothing")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")


def test_report_writes_a_card_and_a_page(written_run):
    recipe = "{moyai: 1, name: a, base: o/n, stages: [{extend: {corpus: starter:ja_text, pieces: 7}}]}"
    (written_run / "recipe.yaml").write_text(recipe, encoding="utf-8")
    done = run_blocked("report", written_run)
    assert done.returncode == 0, done.stderr
    assert [line.rsplit("/", 1)[-1] for line in done.stdout.splitlines()] == ["README.md", "index.html"]


def test_show_on_a_gguf_file(tmp_path):
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    done = run_blocked("show", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["total_parameters"] == 64
