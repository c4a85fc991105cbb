"""Conversations as transformers renders them, and where the assistant speaks in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from moyai.errors import InputFileError
from moyai.tokenizer.chat import assistant_weights, render
from moyai.tokenizer.text import TextTokenizer
from tiny import TEMPLATE, write_tiny_tokenizer

MESSAGES = [
    {"role": "system", "content": "Answer  shortly. "},
    {"role": "user", "content": "日本の首都は？\n<b>一言で</b>"},
    {"role": "assistant", "content": "東京です。\n以上"},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "どういたしまして"},
]
TEMPLATES = {
    "chatml": TEMPLATE,
    "with a default system message": (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}" + TEMPLATE
    ),
    "instruction style, with marks": (
        "{{ bos_token }}{% for message in messages %}\n    {% if message['role'] == 'assistant' %}\n"
        "{{ message['content'] + eos_token }}\n    {% else %}\n[INST] {{ message['content'] | trim }} [/INST]\n"
        "    {% endif %}\n{% endfor %}"
    ),
    "loops, tools and JSON": (
        "{%- if tools is not none %}{{ 'tools' }}{% endif -%}{%- if documents is not none %}{{ 'documents' }}{% endif -%}"
        "{% for message in messages %}{% if loop.index > 3 %}{% break %}{% endif %}{{ message | tojson }}{% endfor %}"
    ),
}


def checkpoint(directory: Path, template: str = TEMPLATE) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(directory)
    path = directory / "tokenizer_config.json"
    settings = {**json.loads(path.read_text(encoding="utf-8")), "chat_template": template}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return TextTokenizer(checkpoint(tmp_path_factory.mktemp("chat") / "chatml"))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("for_answer", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_rendering_equals_transformers(tmp_path: Path, name: str, for_answer: bool, first: int) -> None:
    directory = checkpoint(tmp_path, TEMPLATES[name])
    messages = MESSAGES[first:4]
    theirs = AutoTokenizer.from_pretrained(directory).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=for_answer
    )
    assert render(TextTokenizer(directory), messages, for_answer=for_answer) == theirs


def learnt(tokenizer: TextTokenizer, ids: list[int], weights: list[float]) -> list[str]:
    """The runs of weighted tokens, as text."""
    runs: list[list[int]] = []
    previous = 0.0
    for id_, weight in zip(ids, weights, strict=True):
        if weight:
            if not previous:
                runs.append([])
            runs[-1].append(id_)
        previous = weight
    return [b"".join(tokenizer.token_bytes(id_) for id_ in run).decode("utf-8") for run in runs]


def test_exactly_the_assistants_words_and_their_end_mark_are_learnt(chatml: TextTokenizer) -> None:
    ids, weights = assistant_weights(chatml, MESSAGES)
    assert ids == chatml.encode(render(chatml, MESSAGES))
    assert set(weights) == {0.0, 1.0}
    assert learnt(chatml, ids, weights) == ["東京です。\n以上<|im_end|>", "どういたしまして<|im_end|>"]


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda text: "<|" not in text)


@settings(max_examples=60, deadline=None)
@given(question=words, answer=words)
def test_whatever_the_words_are(chatml: TextTokenizer, question: str, answer: str) -> None:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    assert learnt(chatml, *assistant_weights(chatml, messages)) == [f"{answer}<|im_end|>"]


def test_a_conversation_in_which_the_assistant_is_silent(chatml: TextTokenizer) -> None:
    _, weights = assistant_weights(chatml, MESSAGES[:2])
    assert not any(weights)


def test_another_style_of_template(tmp_path: Path) -> None:
    tokenizer = TextTokenizer(checkpoint(tmp_path, TEMPLATES["instruction style, with marks"]))
    spoken = learnt(tokenizer, *assistant_weights(tokenizer, MESSAGES[1:]))
    assert [text.strip() for text in spoken] == ["東京です。\n以上<|im_end|>", "どういたしまして<|im_end|>"]


def test_a_template_that_rewrites_earlier_turns_is_refused(tmp_path: Path) -> None:
    template = "{% for message in messages %}{% if loop.last %}{{ message['content'] }}{% endif %}{% endfor %}"
    tokenizer = TextTokenizer(checkpoint(tmp_path, template))
    with pytest.raises(InputFileError, match="rewrites earlier turns"):
        assistant_weights(tokenizer, MESSAGES)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for %}", "fails"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ ''.__class__.__mro__ }}", "fails"),
        ("{{ messages.append(1) }}", "fails"),
    ],
)
def test_a_template_that_fails_or_reaches_out_of_its_sandbox(tmp_path: Path, template: str, said: str) -> None:
    with pytest.raises(InputFileError, match=said):
        render(TextTokenizer(checkpoint(tmp_path, template)), MESSAGES)
