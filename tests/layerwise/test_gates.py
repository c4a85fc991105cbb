"""Gates from prompts, against transformers' own hidden states taken at length."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from moyai.errors import InputFileError
from moyai.layerwise.gates import gate_spread, prompt_gates
from moyai.progress import Bar, SilentProgress
from moyai.recipe.expert_prompts import ExpertPrompts, GateMode
from tiny import tiny_model, write_tiny_sentencepiece

DENSE = ["llama", "mistral", "qwen2", "qwen3"]
MODES: list[GateMode] = ["hidden", "hidden_avg", "cheap_embed"]
PROMPTS = [
    ExpertPrompts(positive=("The boat is moored.", "Ropes", "舟は桟橋に舫ってある。"), negative=("12 + 30 = 42",)),
    ExpertPrompts(positive=("the tide goes in and out twice a day",)),
    ExpertPrompts(positive=("7", "Hold it fast, and"), negative=("Ropes", "beside the pier")),
]

Vector = Callable[[Any, Any, str], torch.Tensor]


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def bar(self, label: str, *, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        with super().bar(label, total=total, unit=unit, done=done) as bar:
            yield bar


def gates(directory: Path, prompts: list[ExpertPrompts], mode: GateMode, behaviour: Any = "exact") -> NDArray[np.float32]:
    return prompt_gates(directory, prompts, mode=mode, behaviour=behaviour, progress=SilentProgress())


@torch.no_grad()
def seen_by_routers(directory: Path, text: str) -> torch.Tensor:
    """[layers, tokens, hidden] after the second norm of each layer, float64."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    seen: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.post_attention_layernorm.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    model(**AutoTokenizer.from_pretrained(directory)(text, return_tensors="pt"))
    return torch.stack(seen).double()


def embedded(directory: Path, text: str) -> torch.Tensor:
    """[1, tokens, hidden], float64."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(directory)(text, return_tensors="pt")["input_ids"]
    return model.get_input_embeddings()(ids).detach().double()


def naive(directory: Path, expert: ExpertPrompts, mode: GateMode) -> torch.Tensor:
    """[layers, hidden]."""

    def mean(texts: tuple[str, ...]) -> torch.Tensor:
        if mode == "cheap_embed":
            return torch.cat([embedded(directory, text) for text in texts], dim=1).mean(1)
        states = [seen_by_routers(directory, text) for text in texts]
        taken = [state[:, -1] if mode == "hidden" else state.mean(1) for state in states]
        return torch.stack(taken).mean(0)

    gate = mean(expert.positive)
    if expert.negative:
        gate = gate - mean(expert.negative)
    gate = gate / gate.norm(dim=-1, keepdim=True)
    return gate.expand(2, -1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", DENSE)
def test_exact_gates(family: str, mode: GateMode, checkpoints: dict[str, Path]) -> None:
    found = gates(checkpoints[family], PROMPTS, mode)
    assert (found.shape, found.dtype) == ((2, 3, 32), np.float32)
    for number, expert in enumerate(PROMPTS):
        expected = naive(checkpoints[family], expert, mode).numpy()
        np.testing.assert_allclose(found[:, number], expected, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_longer_prompt_of_another_expert_changes_no_exact_gate(mode: GateMode, checkpoints: dict[str, Path]) -> None:
    longer = [*PROMPTS[:2], ExpertPrompts(positive=("Ropes hold it fast, and the tide goes in and out. " * 9,))]
    before, after = gates(checkpoints["llama"], PROMPTS, mode), gates(checkpoints["llama"], longer, mode)
    assert np.array_equal(before[:, :2], after[:, :2])
    assert not np.allclose(before[:, 2], after[:, 2], atol=1e-2)


def test_a_longer_prompt_of_the_same_expert_changes_nothing_but_the_mean(checkpoints: dict[str, Path]) -> None:
    """Two prompts' gate lies between those of each alone: neither was padded."""
    texts = ("Ropes", "Ropes hold it fast, and the tide goes in and out. " * 9)
    both, *alone = (
        gates(checkpoints["llama"], [ExpertPrompts(positive=chosen), PROMPTS[1]], "hidden_avg")[:, 0]
        for chosen in (texts, texts[:1], texts[1:])
    )
    basis = np.stack(alone, axis=1)
    for layer in range(2):
        parts, rest, *_ = np.linalg.lstsq(basis[layer].T, both[layer], rcond=None)
        assert rest == pytest.approx(0, abs=1e-10)
        assert (parts > 0).all()


def test_the_tokenizers_own_mark_stands_in_front(tmp_path: Path) -> None:
    tiny_model("llama", vocab_size=448).save_pretrained(tmp_path)
    write_tiny_sentencepiece(tmp_path, "bpe")
    assert AutoTokenizer.from_pretrained(tmp_path)("潮")["input_ids"][0] == 1
    prompts = [ExpertPrompts(positive=("潮",)), PROMPTS[1]]
    found = gates(tmp_path, prompts, "hidden_avg")
    np.testing.assert_allclose(found[:, 0], naive(tmp_path, prompts[0], "hidden_avg").numpy(), atol=2e-6)


def as_mergekit_documents(directory: Path, expert: ExpertPrompts, mode: GateMode) -> torch.Tensor:
    """What mergekit-moe's documented behaviour comes to, with transformers' padding and hidden states."""
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    tokenizer.pad_token_id = tokenizer.bos_token_id
    dtype = torch.float32 if mode == "cheap_embed" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()

    @torch.no_grad()
    def side(texts: tuple[str, ...]) -> torch.Tensor:
        texts_with_mark = [tokenizer.bos_token + text for text in texts]
        given = tokenizer(texts_with_mark, return_tensors="pt", padding=True, add_special_tokens=False)
        if mode == "cheap_embed":
            rows = model.get_input_embeddings()(given["input_ids"])[given["attention_mask"].bool()]
            total = rows.sum(0, keepdim=True)
            return (total / total.norm()).expand(2, -1)
        hidden = torch.stack(model(**given, output_hidden_states=True).hidden_states[:-1])
        taken = hidden[:, :, -1] if mode == "hidden" else hidden.sum(2) / hidden.shape[2]
        return taken.sum(1) / taken.shape[1]

    gate = side(expert.positive)
    if expert.negative:
        gate = gate - side(expert.negative)
    return (gate / gate.norm(dim=-1, keepdim=True)).float()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", DENSE)
def test_gates_as_mergekit_makes_them(family: str, mode: GateMode, checkpoints: dict[str, Path]) -> None:
    found = gates(checkpoints[family], PROMPTS, mode, "mergekit")
    assert (found.shape, found.dtype) == ((2, 3, 32), np.float32)
    for number, expert in enumerate(PROMPTS):
        expected = as_mergekit_documents(checkpoints[family], expert, mode).numpy()
        np.testing.assert_allclose(found[:, number], expected, atol=1e-6)
    exact = gates(checkpoints[family], PROMPTS, mode)
    assert np.abs(exact - found).max() > 0.05, "the two behaviours are not the same"


def test_mergekit_counts_padding(checkpoints: dict[str, Path]) -> None:
    """A longer prompt of the same expert changes what a short one is worth: the mean of the two is not their means'."""
    short, long = ("Ropes",), ("Ropes hold it fast, and the tide goes in and out. " * 9,)
    both, *alone = (
        gates(checkpoints["llama"], [ExpertPrompts(positive=chosen), PROMPTS[1]], "hidden_avg", "mergekit")[:, 0]
        for chosen in (short + long, short, long)
    )
    basis = np.stack(alone, axis=1)
    rest = [np.linalg.lstsq(basis[layer].T, both[layer], rcond=None)[1] for layer in range(2)]
    assert max(rest) > 1e-3, "the padding in front of the short prompt counts too"


def test_a_tokenizer_without_a_mark_cannot_pad(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for path in checkpoints["llama"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    kept = {name: value for name, value in settings.items() if name not in ("bos_token", "eos_token", "pad_token")}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(kept))
    with pytest.raises(InputFileError, match="cannot be padded to one length"):
        gates(tmp_path, PROMPTS, "hidden", "mergekit")


def test_prompts_that_cannot_make_a_gate(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputFileError, match="prompt '' of expert 1 has no token"):
        gates(checkpoints["llama"], [PROMPTS[0], ExpertPrompts(positive=("",))], "hidden")
    same = ExpertPrompts(positive=("Ropes",), negative=("Ropes",))
    with pytest.raises(InputFileError, match="gate of expert 1 is zero in layer 0"):
        gates(checkpoints["llama"], [PROMPTS[0], same], "hidden")


def test_nearly_parallel_gates_are_told(checkpoints: dict[str, Path]) -> None:
    notes = Notes()
    twice = [PROMPTS[0], PROMPTS[1], PROMPTS[1]]
    prompt_gates(checkpoints["llama"], twice, mode="hidden", behaviour="exact", progress=notes)
    (note,) = notes.notes
    assert "in 2 of 2 layers; closest are experts 1 and 2 in layer" in note
    assert "with 1.0000" in note
    notes = Notes()
    prompt_gates(checkpoints["llama"], PROMPTS, mode="hidden", behaviour="exact", progress=notes)
    assert not notes.notes


def test_gate_spread() -> None:
    gates_LEH = np.array([[[1, 0, 0], [0, 2, 0], [0, 3, 4]]], np.float32)
    (spread,) = gate_spread(gates_LEH)
    assert spread.closest == (1, 2)
    assert spread.max_cosine == pytest.approx(0.6)
    assert spread.condition_number == pytest.approx(np.linalg.cond(gates_LEH[0]), rel=1e-6)
