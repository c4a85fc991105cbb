import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from moyai.errors import InputFileError
from moyai.gguf.architecture import architecture_of
from moyai.gguf.header import GgufHeader, read_header
from moyai.gguf.read import GgufSummary, gguf_to_checkpoint, summary_of
from moyai.gguf.vocabulary import read_vocabulary
from moyai.progress import SilentProgress

SILENT = SilentProgress()


@pytest.fixture(scope="module")
def smollm2(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[GgufSummary, Path]:
    directory = tmp_path_factory.mktemp("read") / "smollm2"
    return gguf_to_checkpoint(smollm2_gguf, directory, progress=SILENT), directory


def test_summary_of_the_real_file(smollm2: tuple[GgufSummary, Path]) -> None:
    summary, _ = smollm2
    assert summary.num_parameters == 134_515_008
    assert summary.quantisation == {"Q4_1": 210, "F32": 61, "Q8_0": 1}
    assert summary.metadata["license"] == "apache-2.0"
    assert summary.architecture.tie_word_embeddings
    assert summary.architecture.rms_norm_eps == 1e-5


def test_real_weights_are_those_of_transformers_own_reader(
    smollm2: tuple[GgufSummary, Path], smollm2_gguf: Path
) -> None:
    directory, file = smollm2_gguf.parent, smollm2_gguf.name
    theirs = AutoModelForCausalLM.from_pretrained(directory, gguf_file=file).state_dict()
    ours = load_file(smollm2[1] / "model.safetensors")
    assert ours.keys() == theirs.keys() - {"lm_head.weight"}
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_real_tokenizer_files(smollm2: tuple[GgufSummary, Path]) -> None:
    directory = smollm2[1]
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    assert [part["type"] for part in tokenizer["pre_tokenizer"]["pretokenizers"]] == ["Digits", "ByteLevel"]
    assert len(tokenizer["model"]["vocab"]) == 49152
    assert [token["id"] for token in tokenizer["added_tokens"]] == list(range(17))
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (config["bos_token"], config["eos_token"]) == ("<|im_start|>", "<|im_end|>")
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    generation = json.loads((directory / "generation_config.json").read_text(encoding="utf-8"))
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_other_dtypes_are_rounded_as_torch_rounds(tiny_gguf: Path, tmp_path: Path, dtype: Any) -> None:
    gguf_to_checkpoint(tiny_gguf, tmp_path / "f32", progress=SILENT)
    gguf_to_checkpoint(tiny_gguf, tmp_path / "half", dtype=dtype, progress=SILENT)
    wanted = torch.float16 if dtype == "F16" else torch.bfloat16
    full = load_file(tmp_path / "f32" / "model.safetensors")
    half = load_file(tmp_path / "half" / "model.safetensors")
    assert all(torch.equal(half[name], value.to(wanted)) for name, value in full.items())
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["dtype"] == str(wanted).removeprefix("torch.")


def changed(header: GgufHeader, **changes: Any) -> GgufHeader:
    metadata = dict(header.metadata)
    for key, value in changes.items():
        metadata[key.replace("__", ".")] = value
    return replace(header, metadata={key: value for key, value in metadata.items() if value is not None})


ARCHITECTURE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"general__architecture": "gemma3"}, "general.architecture 'gemma3'; llama, qwen2, qwen3, qwen2moe, qwen3moe can"),
    ({"general__architecture": None}, "no text under 'general.architecture'"),
    ({"llama__block_count": None}, "no llama.block_count"),
    ({"llama__attention__head_count": [4, 4]}, r"\[4, 4\] under llama.attention.head_count"),
    ({"llama__attention__head_count": 0}, "does not describe a model"),
    ({"llama__attention__layer_norm_rms_epsilon": None}, "no llama.attention.layer_norm_rms_epsilon"),
    ({"llama__rope__scaling__type": "yarn"}, "stretches its rotary positions"),
    ({"llama__rope__scaling__factor": 2.0}, "stretches its rotary positions"),
    ({"llama__rope__scale_linear": 4.0}, "stretches its rotary positions"),
    ({"llama__expert_used_count": None}, "no llama.expert_used_count"),
    ({"general__architecture": "qwen2moe"}, "no qwen2moe.embedding_length"),
    ({"llama__rope__dimension_count": 4}, "not its head size"),
]
VOCABULARY_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"tokenizer__ggml__model": "rwkv"}, "'rwkv'; gpt2, llama, t5 can be read"),
    ({"tokenizer__ggml__model": "llama"}, "one finite tokenizer.ggml.scores"),
    ({"tokenizer__ggml__pre": "tekken"}, "not yet known"),
    ({"tokenizer__ggml__pre": None}, "no text under 'tokenizer.ggml.pre'"),
    ({"tokenizer__ggml__tokens": None}, "no list of texts"),
    ({"tokenizer__ggml__tokens": ["a", "a"]}, "a token twice"),
    ({"tokenizer__ggml__token_type": [1]}, "one tokenizer.ggml.token_type for each"),
    ({"tokenizer__ggml__merges": ["a nothing"]}, "merge 0"),
    ({"tokenizer__ggml__eos_token_id": 10**6}, "eos_token_id 1000000"),
    ({"tokenizer__chat_template": 3}, "not text"),
]


@pytest.mark.parametrize(
    ("read", "changes", "message"),
    [(architecture_of, *fault) for fault in ARCHITECTURE_FAULTS]
    + [(read_vocabulary, *fault) for fault in VOCABULARY_FAULTS],
)
def test_faults_in_the_metadata(
    tiny_gguf: Path, read: Callable[[GgufHeader], object], changes: dict[str, Any], message: str
) -> None:
    header = read_header(tiny_gguf)
    read(header)
    with pytest.raises(InputFileError, match=message):
        read(changed(header, **changes))


def test_summary_of_a_mixture(tiny_gguf: Path) -> None:
    summary = summary_of(read_header(tiny_gguf))
    assert summary.architecture.family == "mixtral"
    assert (summary.architecture.num_experts, summary.architecture.num_active_experts) == (4, 2)


def patched(tiny_gguf: Path, tmp_path: Path, old: bytes, new: bytes) -> Path:
    content = tiny_gguf.read_bytes()
    assert content.count(old) == 1
    assert len(old) == len(new)
    path = tmp_path / "patched.gguf"
    path.write_bytes(content.replace(old, new))
    return path


def typed(name: bytes, kind: int) -> bytes:
    return name + struct.pack("<IQI", 1, 32, kind)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"blk.1.attn_q.weight", b"blk.7.attn_q.weight", "lacks the tensor 'blk.1.attn_q.weight'"),
        (b"output_norm.weight", b"output_norm.WEIGHT", "lacks the tensor"),
        (typed(b"output_norm.weight", 0), typed(b"output_norm.weight", 200), "unknown quantisation 200"),
        (
            typed(b"output_norm.weight", 0),
            typed(b"output_norm.weight", 26),
            "quantisation I32, not yet known",
        ),
    ],
)
def test_faults_among_the_tensors(
    tiny_gguf: Path, tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    path = patched(tiny_gguf, tmp_path, old, new)
    with pytest.raises(InputFileError, match=message):
        gguf_to_checkpoint(path, tmp_path / "out", progress=SILENT)
    assert not (tmp_path / "out").exists()
