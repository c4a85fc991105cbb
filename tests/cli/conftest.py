import json

import pytest

from moyai.checkpoint.header import header_bytes, tensor_bytes
from moyai.cli.main import main
from moyai.recipe.record import Identity, Record


class Outcome:
    def __init__(self, code, captured):
        self.code, self.out, self.err = code, captured.out, captured.err


@pytest.fixture
def moyai(capsys, monkeypatch, tmp_path):
    """Runs the program in this process, in an empty directory and with a cache of its own."""
    monkeypatch.setenv("MOYAI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_COLOR", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*words):
        code = main([str(word) for word in words])
        return Outcome(code, capsys.readouterr())

    return run


@pytest.fixture
def checkpoint_dir(tmp_path):
    """A one-layer Llama in two dtypes, written without torch."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    config = {"model_type": "llama", "vocab_size": 4, "hidden_size": 8, "intermediate_size": 16}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": True}
    (directory / "config.json").write_text(json.dumps(config))
    matrices = {"model.embed_tokens.weight": (4, 8)}
    matrices |= {f"model.layers.0.self_attn.{name}_proj.weight": (8, 8) for name in "qkvo"}
    matrices |= {f"model.layers.0.mlp.{name}_proj.weight": (16, 8) for name in ("gate", "up")}
    matrices["model.layers.0.mlp.down_proj.weight"] = (8, 16)
    norms = ("model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm")
    tensors = [(name, "BF16", shape) for name, shape in matrices.items()]
    tensors += [(f"{name}.weight", "F32", (8,)) for name in norms]
    content = b"\x00" * sum(tensor_bytes(dtype, shape) for _, dtype, shape in tensors)
    (directory / "model.safetensors").write_bytes(header_bytes(tensors) + content)
    tokenizer = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}}
    tokenizer["added_tokens"] = [{"id": 2, "content": "<end>"}]
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    return directory


@pytest.fixture
def written_run(tmp_path):
    """A run of two finished stages."""
    run_dir = tmp_path / "run"
    for number, (name, results) in enumerate(
        [("init", {"num_parameters": 5}), ("extend", {"num_pieces": 7})]
    ):
        write_record(run_dir / f"{number:02d}-{name}", name, results)
    return run_dir


def write_record(directory, name, results):
    identity = Identity(kind=name, revision=1, settings={"name": ""}, parents=(), outside={})
    record = Record(
        moyai="0",
        name=name,
        identity=identity,
        fingerprint=identity.fingerprint(),
        results=results,
        versions={},
        machine={},
        started="2026-01-01T00:00:00+00:00",
        seconds=2.5,
        peak_bytes=10**9,
        resumed=0,
    )
    directory.mkdir(parents=True)
    (directory / "record.json").write_text(record.model_dump_json())
    return record
