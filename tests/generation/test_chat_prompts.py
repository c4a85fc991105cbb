"""A served model sees the very ids that it was trained with: one bos token, not two and not none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.tokenizer.chat.render import prompt_ids, render
from moyai.tokenizer.chat.templates import CHAT_TEMPLATES
from moyai.tokenizer.text import TextTokenizer
from tiny import tiny_model, write_tiny_sentencepiece
from tokenizer.chat_tokenizers import with_template

MESSAGES = [
    {"role": "user", "content": "The boat is moored"},
    {"role": "assistant", "content": "beside the pier."},
    {"role": "user", "content": "舟は桟橋に"},
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[TextTokenizer, LlamaCpp]]]:
    """For each named template a model whose tokenizer puts a bos token before every text."""
    with ExitStack() as stack:
        models = {}
        for name in CHAT_TEMPLATES:
            directory = tmp_path_factory.mktemp(name)
            tiny_model(vocab_size=480).save_pretrained(directory)
            write_tiny_sentencepiece(directory, "bpe")
            tokenizer = with_template(directory, name)
            path: Path = directory / "model.gguf"
            checkpoint_to_gguf(directory, path, type="f32", progress=SilentProgress())
            models[name] = (tokenizer, stack.enter_context(LlamaCpp(path, num_context=256, num_threads=1)))
        yield models


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_a_chat_has_one_bos_token(served: dict[str, tuple[TextTokenizer, LlamaCpp]], name: str) -> None:
    tokenizer, model = served[name]
    ids = prompt_ids(tokenizer, MESSAGES)
    assert ids.count(1) == (2 if name == "llama-2" else 1), "llama-2 writes one in front of every question"
    answer = model._answer("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1})
    assert answer["usage"]["prompt_tokens"] == len(ids)
    prompt: str = model._answer("/apply-template", {"messages": MESSAGES})["prompt"]
    assert model.tokenize(prompt, add_special=True) == ids


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_so_has_a_rendered_conversation(served: dict[str, tuple[TextTokenizer, LlamaCpp]], name: str) -> None:
    tokenizer, model = served[name]
    text = render(tokenizer, MESSAGES, for_answer=True)
    assert model.tokenize(text, add_special=True)[:2] == [1, 1], "llama.cpp would put a second one in front"
    assert model._text_ids(text) == prompt_ids(tokenizer, MESSAGES)
    assert model._text_ids("The boat") == [1, *tokenizer.encode("The boat")]
    assert "".join(model.complete(text, max_tokens=8)) == "".join(model.chat(MESSAGES, max_tokens=8))
