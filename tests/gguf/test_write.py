import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf.constants import TokenType
from safetensors.numpy import load_file

from moyai.checkpoint import disk
from moyai.checkpoint.config import write_config
from moyai.checkpoint.header import header_bytes
from moyai.checkpoint.layout import expected_tensors
from moyai.errors import DiskSpaceError, FailedError, InputFileError
from moyai.gguf.header import read_header
from moyai.gguf.read import gguf_to_checkpoint
from moyai.gguf.tensor_types import GgufType
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Architecture
from tiny import tiny_model, write_tiny_tokenizer

SILENT = SilentProgress()


def weights(directory: Path) -> dict[str, np.ndarray]:
    return {
        name: value for path in directory.glob("*.safetensors") for name, value in load_file(path).items()
    }


def there_and_back(checkpoint: Path, tmp_path: Path, type: GgufType) -> dict[str, np.ndarray]:
    checkpoint_to_gguf(checkpoint, tmp_path / "a.gguf", type=type, progress=SILENT)
    gguf_to_checkpoint(tmp_path / "a.gguf", tmp_path / "back", progress=SILENT)
    return weights(tmp_path / "back")


@pytest.mark.parametrize("family", ["llama", "untied", "mistral", "mixtral"])
def test_f32_comes_back_bit_for_bit(checkpoints: dict[str, Path], tmp_path: Path, family: str) -> None:
    before, after = weights(checkpoints[family]), there_and_back(checkpoints[family], tmp_path, "f32")
    assert before.keys() == after.keys()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    there = json.loads((checkpoints[family] / "config.json").read_text())
    back = json.loads((tmp_path / "back" / "config.json").read_text())
    for key in (
        "hidden_size",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "eos_token_id",
        "pad_token_id",
    ):
        assert there[key] == back[key] or key == "pad_token_id"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []


@pytest.mark.parametrize(("type", "bits"), [("f16", 11), ("bf16", 8)])
def test_halves_are_rounded_to_nearest(
    checkpoints: dict[str, Path], tmp_path: Path, type: GgufType, bits: int
) -> None:
    before, after = weights(checkpoints["mixtral"]), there_and_back(checkpoints["mixtral"], tmp_path, type)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=2.0**-bits, atol=2.0**-25)
        if value.ndim == 1 or name.endswith("gate.weight"):
            np.testing.assert_array_equal(after[name], value)


def test_q8_0_is_within_half_a_step(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    before, after = weights(checkpoints["mixtral"]), there_and_back(checkpoints["mixtral"], tmp_path, "q8_0")
    kinds = {tensor.name: tensor.type.name for tensor in read_header(tmp_path / "a.gguf").tensors.values()}
    assert {kind for name, kind in kinds.items() if "norm" in name or "ffn_gate_inp" in name} == {"F32"}
    assert {kind for name, kind in kinds.items() if "exps" in name or "attn_q." in name} == {"Q8_0"}
    for name, value in before.items():
        if value.ndim == 1 or name.endswith("gate.weight"):
            np.testing.assert_array_equal(after[name], value)
            continue
        largest = np.abs(value.reshape(-1, 32)).max(axis=1, keepdims=True)
        # Half a step of 1/127 of the largest of 32, and the step itself is rounded to float16.
        error = np.abs(after[name] - value).reshape(-1, 32)
        assert (error <= largest / 127 * (0.5 + 127 * 2.0**-11) + 1e-7).all(), name


def test_experts_are_stacked_as_llama_cpp_has_them(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    checkpoint_to_gguf(checkpoints["mixtral"], tmp_path / "a.gguf", type="f32", progress=SILENT)
    header = read_header(tmp_path / "a.gguf")
    assert header.tensors["blk.0.ffn_gate_exps.weight"].shape == (4, 64, 32)
    assert header.tensors["blk.0.ffn_down_exps.weight"].shape == (4, 32, 64)
    assert header.metadata["llama.expert_count"] == 4
    assert header.metadata["llama.expert_used_count"] == 2
    assert header.metadata["general.architecture"] == "llama"


def test_rows_without_a_token_are_unused(tmp_path: Path) -> None:
    tiny_model(vocab_size=328).save_pretrained(tmp_path / "m")
    write_tiny_tokenizer(tmp_path / "m", vocab_size=320)
    named = json.loads((tmp_path / "m" / "tokenizer.json").read_text())["model"]["vocab"]
    checkpoint_to_gguf(tmp_path / "m", tmp_path / "a.gguf", type="f32", progress=SILENT)
    metadata = read_header(tmp_path / "a.gguf").metadata
    assert len(metadata["tokenizer.ggml.tokens"]) == 328
    assert metadata["tokenizer.ggml.tokens"][327] == "[PAD327]"
    assert metadata["tokenizer.ggml.token_type"][len(named) :] == [TokenType.UNUSED] * (328 - len(named))
    gguf_to_checkpoint(tmp_path / "a.gguf", tmp_path / "back", progress=SILENT)
    assert json.loads((tmp_path / "back" / "tokenizer.json").read_text())["model"]["vocab"] == named


def test_the_vocabulary_is_inherited(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    checkpoint_to_gguf(checkpoints["llama"], tmp_path / "a.gguf", type="f32", progress=SILENT)
    metadata = read_header(tmp_path / "a.gguf").metadata
    assert metadata["tokenizer.ggml.model"] == "gpt2"
    assert metadata["tokenizer.ggml.pre"] == "smollm"
    assert metadata["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]
    assert metadata["tokenizer.ggml.bos_token_id"] == 1
    assert metadata["tokenizer.ggml.eos_token_id"] == 2
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert "<|im_start|>" in metadata["tokenizer.chat_template"]
    gguf_to_checkpoint(tmp_path / "a.gguf", tmp_path / "back", progress=SILENT)
    before = json.loads((checkpoints["llama"] / "tokenizer.json").read_text())
    after = json.loads((tmp_path / "back" / "tokenizer.json").read_text())
    assert before["pre_tokenizer"] == after["pre_tokenizer"]
    assert before["model"]["vocab"] == after["model"]["vocab"]
    assert before["model"]["merges"] == after["model"]["merges"]


def test_bos_and_eos_around_a_text(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing

    checkpoint = shutil.copytree(checkpoints["llama"], tmp_path / "m")
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    framed = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    tokenizer.post_processor = Sequence([ByteLevel(), framed])
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    checkpoint_to_gguf(checkpoint, tmp_path / "a.gguf", type="f32", progress=SILENT)
    metadata = read_header(tmp_path / "a.gguf").metadata
    assert (metadata["tokenizer.ggml.add_bos_token"], metadata["tokenizer.ggml.add_eos_token"]) == (
        True,
        False,
    )
    gguf_to_checkpoint(tmp_path / "a.gguf", tmp_path / "back", progress=SILENT)
    back = Tokenizer.from_file(str(tmp_path / "back" / "tokenizer.json"))
    assert back.encode("the boat").ids == tokenizer.encode("the boat").ids
    assert back.encode("the", "boat").ids[0] == 1


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_a_gguf_cannot_say_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    cases = [
        ("config.json", {"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ("config.json", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "stretches its rotary"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "pre-tokenizer that llama.cpp"),
        (
            "tokenizer.json",
            {"post_processor": {"type": "RobertaProcessing"}},
            "post-processor 'RobertaProcessing'",
        ),
        ("tokenizer_config.json", {"bos_token": "<none>"}, "bos_token '<none>'"),
    ]
    for number, (name, change, message) in enumerate(cases):
        checkpoint = shutil.copytree(checkpoints["llama"], tmp_path / str(number))
        edit(checkpoint / name, **change)
        with pytest.raises(InputFileError, match=message):
            checkpoint_to_gguf(checkpoint, tmp_path / "a.gguf", type="f32", progress=SILENT)
    assert not list(tmp_path.glob("a.gguf*"))


def test_values_that_are_not_finite_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    checkpoint = shutil.copytree(checkpoints["llama"], tmp_path / "m")
    values = weights(checkpoint)
    values["model.norm.weight"][3] = np.inf
    save_file(values, checkpoint / "model.safetensors")
    with pytest.raises(InputFileError, match=r"'model.norm.weight' holds values that are not finite"):
        checkpoint_to_gguf(checkpoint, tmp_path / "a.gguf", type="f32", progress=SILENT)
    assert not list(tmp_path.glob("a.gguf*"))


def test_a_full_disk_is_told_before_writing(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DiskSpaceError):
        checkpoint_to_gguf(checkpoints["llama"], tmp_path / "a.gguf", type="f32", progress=SILENT)
    assert not list(tmp_path.glob("a.gguf*"))


def test_fallbacks_are_counted_and_told(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    notes: list[str] = []

    class Listening(SilentProgress):
        def note(self, text: str) -> None:
            notes.append(text)

    written = checkpoint_to_gguf(
        checkpoints["mixtral"], tmp_path / "a.gguf", type="q4_k_m", progress=Listening()
    )
    header = read_header(tmp_path / "a.gguf")
    found = [tensor.type.name for tensor in header.tensors.values()]
    assert written.num_tensors == {name: found.count(name) for name in ("F32", "Q5_0", "Q8_0")}
    # Rows of 32 and 64 numbers: all matrices but the two routers.
    assert written.num_fallback_tensors == 2 + 2 * 7
    assert notes == [
        "16 of 23 tensors have rows that are no whole number of blocks and take a larger type"
    ]
    assert written.num_bytes == (tmp_path / "a.gguf").stat().st_size
    assert header.metadata["general.file_type"] == 15
    assert header.metadata["general.quantization_version"] == 2
    notes.clear()
    written = checkpoint_to_gguf(
        checkpoints["mixtral"], tmp_path / "a.gguf", type="q8_0", progress=Listening()
    )
    assert (written.num_fallback_tensors, notes) == (0, [])


@pytest.mark.parametrize("type", ["f16", "q4_k_m"])
def test_bytes_depend_neither_on_pieces_nor_on_cores(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type: GgufType
) -> None:
    from moyai.gguf import encode

    for family in ("mixtral", "qwen2_moe"):
        checkpoint_to_gguf(checkpoints[family], tmp_path / "whole.gguf", type=type, progress=SILENT, name="a")
        for cores, elements, under_way in [(1, 1, 1), (5, 700, 3000)]:
            with monkeypatch.context() as patched:
                patched.setattr(encode.os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
                patched.setattr(encode, "_PIECE_ELEMENTS", elements)
                patched.setattr(encode, "_ELEMENTS_UNDER_WAY", under_way)
                checkpoint_to_gguf(checkpoints[family], tmp_path / "cut.gguf", type=type, progress=SILENT, name="a")
            assert (tmp_path / "cut.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


@pytest.mark.parametrize(("type", "weight"), [("f16", 1e6), ("q8_0", 1e9), ("q4_k_m", 1e9)])
def test_a_failed_write_leaves_the_older_file(
    checkpoints: dict[str, Path], tmp_path: Path, type: GgufType, weight: float
) -> None:
    from safetensors.numpy import save_file

    checkpoint = shutil.copytree(checkpoints["llama"], tmp_path / "m")
    values = weights(checkpoint)
    values["model.layers.1.mlp.down_proj.weight"][3, 5] = weight
    save_file(values, checkpoint / "model.safetensors")
    (tmp_path / "a.gguf").write_bytes(b"older")
    with pytest.raises(FailedError, match="beyond the range of"):
        checkpoint_to_gguf(checkpoint, tmp_path / "a.gguf", type=type, progress=SILENT)
    assert (tmp_path / "a.gguf").read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf", "m"]


KILLED_ONCE_ALL_IS_WRITTEN = """
import os, signal, sys
from pathlib import Path
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
checkpoint_to_gguf(Path(sys.argv[1]), Path(sys.argv[2]), type="q4_k_m", progress=SilentProgress())
"""


def test_a_killed_write_leaves_nothing_under_the_name(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    command = [sys.executable, "-c", KILLED_ONCE_ALL_IS_WRITTEN, checkpoints["llama"], path]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert [left.name for left in tmp_path.iterdir()] == ["a.gguf.partial"]
    checkpoint_to_gguf(checkpoints["llama"], path, type="q4_k_m", progress=SILENT)
    assert [left.name for left in tmp_path.iterdir()] == ["a.gguf"]
    read_header(path)


PEAK = """
import os, sys
from pathlib import Path
import numpy
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
before = peak()
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
os.sched_getaffinity = lambda _: set(range(16))
checkpoint_to_gguf(Path(sys.argv[1]), Path(sys.argv[2]), type=sys.argv[3], progress=SilentProgress())
assert not {"torch", "transformers", "xllamacpp"} & sys.modules.keys()
print(peak() - before)
"""
LARGE = Architecture(
    family="llama",
    vocab_size=320,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=4,
    num_attention_heads=16,
    num_key_value_heads=4,
    head_dim=128,
    tie_word_embeddings=False,
)


@pytest.mark.parametrize("type", ["f32", "q4_k_m"])
def test_peak_memory_stays_within_200_mb_of_numpys(tmp_path: Path, type: GgufType) -> None:
    """On 16 cores; a vocabulary of 150,000 tokens takes more than this one of 320."""
    shapes = expected_tensors(LARGE)
    header = header_bytes((name, "BF16", shape) for name, shape in shapes.items())
    num_bytes = 2 * sum(int(np.prod(shape)) for shape in shapes.values())
    assert num_bytes > 480e6
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + num_bytes)
    write_config(tmp_path, LARGE, dtype="BF16", like={})
    write_tiny_tokenizer(tmp_path)
    command = [sys.executable, "-c", PEAK, tmp_path, tmp_path / "a.gguf", type]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    (tmp_path / "a.gguf").unlink()
    assert int(done.stdout) < 200e6
