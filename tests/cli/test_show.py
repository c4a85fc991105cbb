import json

import gguf
import numpy as np
import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from corpus.small_corpus import write_corpus


def shown(moyai, path):
    outcome = moyai("show", path, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_checkpoint(moyai, checkpoint_dir):
    found = shown(moyai, checkpoint_dir)
    assert found["kind"] == "checkpoint"
    assert found["class"] == "LlamaForCausalLM"
    assert found["total_parameters"] == sum(found["values_by_dtype"].values())
    assert found["values_by_dtype"].keys() == {"BF16", "F32"}
    assert found["num_shards"] == 1
    assert found["tokenizer"] == "BPE"
    assert found["tokenizer_entries"] == 3
    text = moyai("show", checkpoint_dir).out
    assert "total parameters" in text
    assert "BF16" in text


def test_safetensors(moyai, checkpoint_dir):
    found = shown(moyai, checkpoint_dir / "model.safetensors")
    assert found["num_tensors"] == len(found["tensors"])
    assert {"tensor": "model.norm.weight", "dtype": "F32", "shape": [8]} in found["tensors"]
    assert "model.norm.weight" in moyai("show", checkpoint_dir / "model.safetensors").out


def test_gguf(moyai, tmp_path):
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
    writer.add_tensor("output_norm.weight", np.zeros((32,), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = shown(moyai, path)
    assert found["parameters_by_type"] == {"F32": 64, "F16": 32}
    metadata = {row["key"]: row["value"] for row in found["metadata"]}
    assert metadata["general.architecture"] == "llama"
    assert metadata["tokenizer.ggml.tokens"] == "2 values"
    assert "token_embd" not in moyai("show", path).out


def test_run_stage_and_record(moyai, written_run):
    found = shown(moyai, written_run)
    assert [stage["stage"] for stage in found["stages"]] == ["init", "extend"]
    assert found["seconds"] == 5.0
    assert found["stages"][1]["results"] == {"num_pieces": 7}
    for path in (written_run / "01-extend", written_run / "01-extend" / "record.json"):
        stage = shown(moyai, path)
        assert stage["stage"] == "extend"
        assert {"name": "num_pieces", "value": 7} in stage["results"]
    assert "num_pieces" in moyai("show", written_run).out.replace("num pieces", "num_pieces")


def test_tokenizer_and_corpora(moyai, checkpoint_dir, tmp_path):
    assert shown(moyai, checkpoint_dir / "tokenizer.json")["num_merges"] == 1
    text = tmp_path / "a.jsonl"
    text.write_text('{"text": "海 sea", "split": "train"}\n', encoding="utf-8")
    assert shown(moyai, text)["train_characters"] == 5
    packed = tmp_path / "a.jsonl.zst"
    packed.write_bytes(zstandard.compress(text.read_bytes()))
    assert shown(moyai, packed) == shown(moyai, text) | {"path": str(packed)}
    table = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["海 sea"], "split": ["train"]}), table)
    assert shown(moyai, table) == shown(moyai, text) | {"path": str(table)}
    text.write_text('{"messages": [{"role": "user", "content": "やあ"}]}\n', encoding="utf-8")
    assert shown(moyai, text)["conversations"] == 1


@pytest.mark.parametrize(
    ("row", "kind", "shape", "characters"),
    [
        ('{"instruction": "海は？", "input": "", "output": "sea"}', "conversations", "instruction", 6),
        ('{"conversations": [{"from": "human", "value": "やあ"}]}', "conversations", "conversation", 2),
        ('{"message_id": "a", "text": "b", "role": "prompter"}', "conversations", "tree message", 0),
        ('{"prompt": "海", "chosen": "sea", "rejected": "see"}', "preferences", "preference", 7),
    ],
)
def test_instructions_and_preferences(moyai, tmp_path, row, kind, shape, characters):
    text = tmp_path / "a.jsonl"
    text.write_text(row + "\n", encoding="utf-8")
    found = shown(moyai, text)
    assert (found["kind"], found["shape"]) == (kind, shape)
    assert found[kind] == (1 if characters else 0)
    assert found["characters"] == characters


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.bin", b"", "is of no kind that moyai knows"),
        ("a.json", b"{}", "is not a tokenizer.json"),
        ("a.json", b"\xff", "is not a tokenizer.json"),
        ("a.gguf", b"GGUF", "a.gguf"),
        ("a.safetensors", b"\x00" * 4, "a.safetensors"),
        ("a.jsonl", b"[]\n", "is not a JSON object"),
        ("a.jsonl", b"\xff\n", "is not UTF-8"),
        ("a.jsonl", b'{"body": 1}\n', "has columns body; known shapes are"),
    ],
)
def test_what_cannot_be_shown(moyai, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    outcome = moyai("show", tmp_path / name)
    assert outcome.code == 2
    assert message in outcome.err


def test_a_directory_of_nothing(moyai, tmp_path):
    assert "neither a checkpoint nor a stage nor a run" in moyai("show", tmp_path).err


def test_packed_corpus(moyai, tmp_path):
    write_corpus(tmp_path)
    found = shown(moyai, tmp_path / "corpus")
    assert (found["kind"], found["documents"]) == ("packed corpus", 50)
    assert found["tokens"] == sum(source["tokens"] for source in found["sources"])
    assert {"source": "ja", "reason": "language", "documents": 2} in found["dropped"]
    (tmp_path / "corpus" / "ja" / "00000.bin").unlink()
    assert moyai("show", tmp_path / "corpus").code == 2
