import json

import pytest

from cli.test_without_torch import run_blocked

ELYZA = """\
base_model: ./ELYZA-japanese-Llama-2-13b-instruct
gate_mode: random
dtype: bfloat16
experts:
  - source_model: ./ELYZA-japanese-Llama-2-13b-instruct
    positive_prompts: []
  - source_model: ./ELYZA-japanese-Llama-2-13b
    positive_prompts: []
tokenizer_source: model:./ELYZA-japanese-Llama-2-13b-instruct
"""


@pytest.fixture
def elyza(moyai, tmp_path, checkpoint_dir):
    """Two tiny models under the names of the card, and its file, in the current directory."""
    work = tmp_path / "work"
    for number, name in enumerate(("ELYZA-japanese-Llama-2-13b-instruct", "ELYZA-japanese-Llama-2-13b")):
        directory = work / name
        directory.mkdir()
        for file in checkpoint_dir.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        content = bytearray((directory / "model.safetensors").read_bytes())
        content[-600:-400] = bytes([number + 1]) * 200
        (directory / "model.safetensors").write_bytes(content)
    (work / "merge.yml").write_text(ELYZA, encoding="utf-8")
    return work


def test_the_elyza_file_becomes_a_mixture(moyai, elyza):
    outcome = moyai("merge", "merge.yml", "out")
    assert (outcome.code, outcome.out) == (0, "out\n"), outcome.err
    assert "takes most of the weight by accident" in outcome.err
    out = elyza / "out"
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["num_local_experts"], config["num_experts_per_tok"]) == ("mixtral", 2, 2)
    assert (out / "mergekit_moe_config.yml").read_text(encoding="utf-8") == ELYZA
    assert (out / "tokenizer.json").read_bytes() == (
        elyza / "ELYZA-japanese-Llama-2-13b-instruct" / "tokenizer.json"
    ).read_bytes()
    origins = (out / "tensor_origins.json").read_text()
    assert 'of ELYZA-japanese-Llama-2-13b"' in origins
    assert str(elyza) not in origins
    results = json.loads((out / "record.json").read_text())["results"]
    assert results["expert_models"] == ["ELYZA-japanese-Llama-2-13b-instruct", "ELYZA-japanese-Llama-2-13b"]


def test_the_same_seed_gives_the_same_bytes(moyai, elyza):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert moyai("merge", "merge.yml", out, "--seed", seed).code == 0
    first, second, third = ((elyza / out / "model.safetensors").read_bytes() for out in "abc")
    assert first == second != third


def test_another_vocabulary_is_found_before_anything_is_written(moyai, elyza):
    path = elyza / "ELYZA-japanese-Llama-2-13b" / "tokenizer.json"
    path.write_text(path.read_text().replace('"b"', '"x"'))
    outcome = moyai("merge", "merge.yml", "out")
    assert outcome.code == 2
    assert "pieces of the vocabulary" in outcome.err
    assert sorted(file.name for file in elyza.iterdir()) == [
        "ELYZA-japanese-Llama-2-13b", "ELYZA-japanese-Llama-2-13b-instruct", "merge.yml"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ELYZA.replace("13b\n", "70b\n", 1).replace("./ELYZA-japanese-Llama-2-70b", "./none"), "none does not exist"),
        (ELYZA.replace("model:./ELYZA-japanese-Llama-2-13b-instruct", "union"), "tokenizer_source is 'union'"),
        ("merge_method: slerp\n", "merge method 'slerp'"),
        (ELYZA + "architecture: qwen\n", "architecture is 'qwen', but these models become mixtral"),
    ],
)
def test_wrong_files_leave_nothing(moyai, elyza, text, said):
    (elyza / "merge.yml").write_text(text, encoding="utf-8")
    outcome = moyai("merge", "merge.yml", "out")
    assert outcome.code == 2, outcome.err
    assert said in outcome.err
    assert not list(elyza.glob(".*"))
    assert not (elyza / "out").exists()


def test_merging_with_drawn_routers_needs_no_torch(elyza):
    done = run_blocked("merge", "merge.yml", "out")
    assert done.returncode == 0, done.stderr
    assert (elyza / "out" / "record.json").is_file()
