"""chat_vector as a stage: through `run_single_stage`, as `moyai merge` runs it, and inside a recipe."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from moyai.errors import InputFileError
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.load import parse_recipe
from moyai.recipe.record import Record
from moyai.run.runner import run_recipe
from moyai.run.single_stage import run_single_stage
from tiny import TEMPLATE, write_tiny_checkpoint, write_tiny_tokenizer

_RECIPE: dict[str, Any] = {"moyai": 1, "name": "merge"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("continued", "chat", "base")):
        write_tiny_checkpoint(root / name, seed=seed)
    return root


def merge(root: Path, out_dir: Path, *, base: str = "continued", notes: list[str] | None = None, **settings: Any) -> Record:
    class Progress(SilentProgress):
        def note(self, text: str) -> None:
            if notes is not None:
                notes.append(text)

    vectors = settings.pop("chat_vectors", [{"chat": str(root / "chat"), "base": str(root / "base"), "ratio": 0.5}])
    stage = {"chat_vector": {"chat_vectors": vectors, **settings}}
    text = json.dumps(_RECIPE | {"base": str(root / base), "stages": [stage]}, ensure_ascii=False)
    recipe = parse_recipe(text, where="here")
    return run_single_stage(recipe, out_dir=out_dir, cache_dir=out_dir.parent / "cache", progress=Progress())


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return {name: value.float() for name, value in load_file(directory / "model.safetensors").items()}


def test_the_sum_is_a_model_and_the_record_says_of_what(models: Path, tmp_path: Path) -> None:
    record = merge(models, tmp_path / "out")
    continued, chat, base = (weights(models / name) for name in ("continued", "chat", "base"))
    made = weights(tmp_path / "out")
    assert made.keys() == continued.keys()
    for name, value in made.items():
        assert (value == continued[name] + 0.5 * (chat[name] - base[name])).all()
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.generation_config.eos_token_id == 2
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == TEMPLATE
    results = record.results
    assert results["vectors"] == [{"chat": "chat", "base": "base", "ratio": 0.5}]
    assert (results["num_tensors_changed"], results["num_tensors_skipped"], results["skip"]) == (len(made), {}, [])
    assert results["chat_template"] == "of the last chat model"
    origins = (tmp_path / "out" / "tensor_origins.json").read_text(encoding="utf-8")
    assert "0.5 · (chat − base) of model.norm.weight" in origins
    assert str(models) not in origins
    assert set(record.identity.outside) == {str(models / "chat"), str(models / "base")}


def test_the_chat_models_template_and_end_mark_are_taken(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "continued", tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (tmp_path / "plain" / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": "<|endoftext|>"}))
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((tmp_path / "plain" / name).read_text())
        (tmp_path / "plain" / name).write_text(json.dumps(settings | {"eos_token_id": 0}))
    for taken in (True, False):
        out_dir, notes = tmp_path / str(taken), []
        record = merge(models, out_dir, base=str(tmp_path / "plain"), chat_template=taken, notes=notes)
        tokenizer = AutoTokenizer.from_pretrained(out_dir)
        assert tokenizer.chat_template == (TEMPLATE if taken else None)
        assert tokenizer.eos_token == ("<|im_end|>" if taken else "<|endoftext|>")
        for name in ("config.json", "generation_config.json"):
            assert json.loads((out_dir / name).read_text())["eos_token_id"] == (2 if taken else 0)
        assert not [note for note in notes if "template" in note]
    assert record.results["chat_template"] == "of the base: chat_template is false"


def test_an_extended_vocabulary_keeps_its_rows_but_those_of_special_tokens(models: Path, tmp_path: Path) -> None:
    base = tmp_path / "extended"
    write_tiny_checkpoint(base, seed=5)
    tensors = load_file(base / "model.safetensors")
    name = "model.embed_tokens.weight"
    tensors[name] = torch.cat([tensors[name], torch.randn(8, 32)])
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"vocab_size": 328}))
    notes: list[str] = []
    special = {"<|im_start|>": "<|im_start|>", "<|endoftext|>": "<|im_end|>"}
    record = merge(models, tmp_path / "out", base=str(base), special_tokens=special, notes=notes)
    made, chat = weights(tmp_path / "out")[name], weights(models / "chat")[name]
    assert (made[[1, 0]] == chat[[1, 2]]).all()
    assert (made[2:] == tensors[name][2:]).all()
    assert "the vocabularies differ, so no vector is added to embeddings and head" in notes
    assert record.results["skip"] == ["embeddings", "head"]
    assert record.results["num_special_rows"] == 2
    assert record.results["num_tensors_skipped"] == {"embeddings": 1}
    with pytest.raises(InputFileError, match="has no token '<none>'"):
        merge(models, tmp_path / "none", base=str(base), special_tokens={"<none>": "<|im_start|>"})
    with pytest.raises(InputFileError, match="the vocabulary has 320 rows, not 328"):
        merge(models, tmp_path / "none", base=str(base), skip=[])
    assert not (tmp_path / "none").exists()


def test_another_tokenizer_keeps_its_template(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "chat", tmp_path / "chat")
    write_tiny_tokenizer(tmp_path / "chat", vocab_size=320)
    path = tmp_path / "chat" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|im_start|>", "<|start|>"), encoding="utf-8")
    path = tmp_path / "chat" / "tokenizer_config.json"
    path.write_text(path.read_text().replace("<|im_start|>", "<|start|>"))
    notes: list[str] = []
    vectors = [{"chat": str(tmp_path / "chat"), "base": str(models / "base")}]
    record = merge(models, tmp_path / "out", chat_vectors=vectors, notes=notes)
    assert record.results["chat_template"].startswith("of the base: the base's tokenizer has no '<|start|>'")
    assert any(note.startswith("the chat template stays the base's") for note in notes)
    assert record.results["skip"] == ["embeddings", "head"]
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == TEMPLATE


def test_models_from_gguf_files_are_converted_for_the_while(models: Path, tmp_path: Path) -> None:
    root = tmp_path / "gguf"
    root.mkdir()
    for name in ("chat", "base"):
        checkpoint_to_gguf(models / name, root / f"{name}.gguf", type="f32", progress=SilentProgress())
    vectors = [{"chat": str(root / "chat.gguf"), "base": str(root / "base.gguf"), "ratio": 0.5}]
    merge(models, tmp_path / "out", chat_vectors=vectors)
    merge(models, tmp_path / "wanted")
    first, second = weights(tmp_path / "out"), weights(tmp_path / "wanted")
    assert all((first[name] == second[name]).all() for name in second)
    assert not (tmp_path / "out" / "resume").exists()


def test_a_model_of_the_run_can_be_the_chat_model(models: Path, tmp_path: Path) -> None:
    base = str(models / "continued")
    stages = [
        {"chat_vector": {"name": "first", "chat_vectors": [{"chat": str(models / "chat"), "base": str(models / "base")}]}},
        {"chat_vector": {"from": "init", "chat_vectors": [{"chat": "stage:first", "base": base}]}},
    ]
    recipe = parse_recipe(json.dumps(_RECIPE | {"base": base, "stages": stages}), where="here")
    finished = run_recipe(recipe, out_dir=tmp_path, until=None, cache_dir=tmp_path / "cache", progress=SilentProgress())
    first, last = (weights(directory) for directory, _ in finished[1:])
    for name, value in first.items():
        assert torch.allclose(value, last[name], rtol=1e-6, atol=1e-6)
    assert set(finished[-1][1].identity.outside) == {base}


def test_the_same_settings_give_the_same_fingerprint_and_bytes(models: Path, tmp_path: Path) -> None:
    first, second = (merge(models, tmp_path / name) for name in ("a", "b"))
    other = merge(models, tmp_path / "c", skip=["norms"])
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_the_dtype_of_the_result(models: Path, tmp_path: Path) -> None:
    merge(models, tmp_path / "out", dtype="bfloat16")
    assert {value.dtype for value in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "accelerate"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
from pathlib import Path
from moyai.progress import SilentProgress
from moyai.recipe.load import parse_recipe
from moyai.run.single_stage import run_single_stage
recipe = parse_recipe(sys.argv[1], where="here")
run_single_stage(recipe, out_dir=Path(sys.argv[2]), cache_dir=Path(sys.argv[3]), progress=SilentProgress())
"""


def test_it_works_without_torch(models: Path, tmp_path: Path) -> None:
    checkpoint_to_gguf(models / "base", tmp_path / "base.gguf", type="f32", progress=SilentProgress())
    vectors = [{"chat": str(models / "chat"), "base": str(tmp_path / "base.gguf"), "ratio": 0.5}]
    stage = {"chat_vector": {"chat_vectors": vectors, "special_tokens": {"<|im_end|>": "<|im_end|>"}}}
    text = json.dumps(_RECIPE | {"base": str(models / "continued"), "stages": [stage]})
    command = [sys.executable, "-c", BLOCKED, text, str(tmp_path / "out"), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(weights(tmp_path / "out")["model.norm.weight"].numpy()).all()
