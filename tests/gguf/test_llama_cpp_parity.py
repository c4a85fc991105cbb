"""Is a written file, run by llama.cpp, the function that its weights are in transformers?"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.header import read_header
from moyai.gguf.read import gguf_to_checkpoint
from moyai.gguf.tensor_types import GgufType
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.sources import corpus_file
from tiny import FAMILIES, write_tiny_tokenizer

SILENT = SilentProgress()
TYPES: list[GgufType] = ["f32", "f16", "bf16", "q8_0", "q4_k_m"]


def starter_texts(count: int) -> list[str]:
    texts = [
        [json.loads(line)["text"] for line in corpus_file(name).read_text(encoding="utf-8").splitlines()[:count]]
        for name in ("starter:en_text", "starter:ja_text")
    ]
    return [text for pair in zip(*texts, strict=True) for text in pair]


@torch.inference_mode()
def torch_log_probabilities(checkpoint: Path, rows: list[list[int]]) -> list[NDArray[np.float64]]:
    """Of every next token, [positions, vocabulary] a row, computed in float32."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    return [
        model(torch.tensor([row])).logits[0].double().log_softmax(-1).numpy().astype(np.float64) for row in rows
    ]


def compare(gguf: Path, checkpoint: Path, rows: list[list[int]], *, top: int) -> tuple[float, float]:
    """Mean over positions of KL(transformers ‖ llama.cpp), and the largest |Δ log-probability| of the 100 likeliest.

    All tokens beyond llama.cpp's `top` likeliest count as one.
    """
    divergences, largest = [], 0.0
    with LlamaCpp(gguf, num_context=512, num_threads=1, exact_cache=True) as model:
        for row, expected_TV in zip(rows, torch_log_probabilities(checkpoint, rows), strict=True):
            for position, expected_V in enumerate(expected_TV):
                found = model.next_log_probabilities(row[: position + 1], top=top)
                ids = list(found)
                p, q = np.exp(expected_V[ids]), np.exp(list(found.values()))
                rest_p, rest_q = max(1 - p.sum(), 1e-9), max(1 - q.sum(), 1e-9)
                difference = expected_V[ids] - list(found.values())
                divergences.append(float((p * difference).sum() + rest_p * np.log(rest_p / rest_q)))
                largest = max(largest, float(np.abs(difference[:100]).max()))
    return float(np.mean(divergences)), largest


@pytest.fixture(scope="module", params=["llama", "mixtral"])
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with rows of 256 and more, so that every type of q4_k_m occurs."""
    directory: Path = tmp_path_factory.mktemp("wide") / request.param
    sizes = {
        "vocab_size": 320,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param, **sizes | FAMILIES[request.param])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        # Larger than the default, so that mistakes show; and routers that do not waver.
        parameter.data.mul_(16.0 if name.endswith("gate.weight") else 1.7)
    model.save_pretrained(directory)
    write_tiny_tokenizer(directory)
    return directory


def random_rows(vocab_size: int, count: int, length: int) -> list[list[int]]:
    numbers = np.random.default_rng(0).integers(3, vocab_size, (count, length))
    rows: list[list[int]] = numbers.tolist()
    return rows


@pytest.mark.parametrize("kind", TYPES)
def test_llama_cpp_runs_every_type(wide: Path, tmp_path: Path, kind: GgufType) -> None:
    gguf, back = tmp_path / "a.gguf", tmp_path / "back"
    written = checkpoint_to_gguf(wide, gguf, type=kind, progress=SILENT)
    found = [tensor.type.name for tensor in read_header(gguf).tensors.values()]
    assert written.num_tensors == {name: found.count(name) for name in sorted(set(found))}
    assert written.num_fallback_tensors == 0
    assert written.num_bytes == gguf.stat().st_size
    if kind == "q4_k_m":
        assert set(found) == {"F32", "Q4_K", "Q6_K"}
    gguf_to_checkpoint(gguf, back, progress=SILENT)
    divergence, largest = compare(gguf, back, random_rows(320, 2, 48), top=320)
    # With queries and keys in the wrong order it is 0.3.
    assert abs(divergence) < 0.01
    assert kind != "f32" or largest < 1e-3


@pytest.mark.parametrize(("kind", "num_texts"), [("f32", 1), ("q8_0", 1), ("q4_k_m", 2)])
def test_the_real_model_is_the_same_function(
    smollm2_gguf: Path, tmp_path: Path, kind: GgufType, num_texts: int
) -> None:
    gguf_to_checkpoint(smollm2_gguf, tmp_path / "m", progress=SILENT)
    written = checkpoint_to_gguf(tmp_path / "m", tmp_path / "a.gguf", type=kind, progress=SILENT)
    if kind == "q4_k_m":
        # 180 in llama.cpp's own count, and the embedding, which is the output head too.
        assert written.num_fallback_tensors == 181
        assert written.num_tensors == {"F32": 61, "Q4_K": 16, "Q5_0": 166, "Q6_K": 14, "Q8_0": 15}
    gguf_to_checkpoint(tmp_path / "a.gguf", tmp_path / "back", progress=SILENT)
    tokenizer = Tokenizer.from_file(str(tmp_path / "m" / "tokenizer.json"))
    rows = [tokenizer.encode(text).ids[:64] for text in starter_texts(num_texts)]
    assert sum(map(len, rows)) == 128 * num_texts
    divergence, largest = compare(tmp_path / "a.gguf", tmp_path / "back", rows, top=1000)
    # What is left is llama.cpp rounding activations to 8 bits before it multiplies quantised weights.
    assert 0 <= divergence < 0.02
    assert kind != "f32" or largest < 5e-3
