"""Is each family, run by llama.cpp, the function that it is in transformers, and does it come back?"""

from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.read import gguf_to_checkpoint
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Family
from moyai.tokenizer.text import TextTokenizer
from tiny import ENGLISH, JAPANESE

FAMILIES: tuple[Family, ...] = get_args(Family)
TEXT = ENGLISH + JAPANESE
SILENT = SilentProgress()


def loaded(checkpoint: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    return model.eval()


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0].log_softmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_function_there_and_back(checkpoints: dict[str, Path], tmp_path: Path, family: Family) -> None:
    checkpoint_to_gguf(checkpoints[family], tmp_path / "a.gguf", type="f32", progress=SILENT)
    model, ids = loaded(checkpoints[family]), TextTokenizer(checkpoints[family]).encode(TEXT)[:160]
    expected_TV = log_probabilities(model, ids)
    with LlamaCpp(tmp_path / "a.gguf", num_context=256, num_threads=1, exact_cache=True) as llama_cpp:
        assert llama_cpp.tokenize(TEXT)[:160] == ids
        for length in range(1, len(ids) + 1, 7):
            found = llama_cpp.next_log_probabilities(ids[:length], top=expected_TV.shape[1])
            assert len(found) == expected_TV.shape[1]
            for token_id, value in found.items():
                assert value == pytest.approx(expected_TV[length - 1, token_id].item(), abs=1e-4)
        greedy = llama_cpp.greedy_ids(ids[:60], max_tokens=24)
    generated = model.generate(
        torch.tensor([ids[:60]]), max_new_tokens=len(greedy), do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert generated[0, 60:].tolist() == greedy
    gguf_to_checkpoint(tmp_path / "a.gguf", tmp_path / "back", progress=SILENT)
    back = loaded(tmp_path / "back")
    assert back.config.model_type == ("llama" if family == "mistral" else family)
    assert torch.equal(log_probabilities(back, ids), expected_TV)
    assert TextTokenizer(tmp_path / "back").encode(TEXT)[:160] == ids
