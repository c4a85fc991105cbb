"""Conversations as transformers renders them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from moyai.errors import InputFileError
from moyai.tokenizer.chat.render import prompt_ids, render
from moyai.tokenizer.text import TextTokenizer
from tiny import TEMPLATE, write_tiny_sentencepiece, write_tiny_tokenizer

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
        "{% for message in messages %}{% if loop.index > 3 %}{% break %}{% endif %}"
        "{{ message | tojson(indent=2, sort_keys=true) }}{% endfor %}"
    ),
    "marks that the tokenizer has not": "{{ sep_token is defined }}{{ eos_token is defined }}{{ sep_token }}",
    "generation marks": (
        "{% for message in messages %}{% set said = message.content %}{%- if message.role == 'assistant' %}\n"
        "{% generation %}{% set said = said + '!' %}{{ said }}{% endgeneration -%}\n {{ said }}{% endif %}{% endfor %}"
    ),
}


def checkpoint(directory: Path, template: str | list[dict[str, str]] = TEMPLATE) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(directory)
    path = directory / "tokenizer_config.json"
    settings = {**json.loads(path.read_text(encoding="utf-8")), "chat_template": template}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return directory


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


def test_of_several_templates_the_default_one(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ messages[0].content }}"}]
    directory = checkpoint(tmp_path, named)
    text = AutoTokenizer.from_pretrained(directory).apply_chat_template(MESSAGES, tokenize=False)
    assert render(TextTokenizer(directory), MESSAGES) == text == MESSAGES[0]["content"]


@pytest.mark.parametrize("writes_bos", [True, False])
def test_a_prompt_has_the_bos_token_once_if_its_template_writes_it(tmp_path: Path, writes_bos: bool) -> None:
    write_tiny_sentencepiece(tmp_path, "bpe")
    template = ("{{ bos_token }}" if writes_bos else "") + "{% for message in messages %}{{ message.content }}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("a").input_ids[0] == theirs.bos_token_id, "of itself the tokenizer puts one in front"
    ids = prompt_ids(TextTokenizer(tmp_path), MESSAGES[:2])
    assert ids.count(theirs.bos_token_id) == writes_bos
    assert ids == theirs.apply_chat_template(MESSAGES[:2], add_generation_prompt=True)["input_ids"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for %}", "fails"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ ''.__class__.__mro__ }}", "fails"),
        ("{{ messages.append(1) }}", "fails"),
        ("{{ messages[0].content + 1 }}", "fails"),
        ("{{ 1 // 0 }}", "fails"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "fails"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "fails"),
        ("{{ messages[9].content + 'x' }}", "fails"),
        ("{{ strftime_now('%d') }}", "'strftime_now' is undefined"),
    ],
)
def test_a_template_that_fails_or_reaches_out_of_its_sandbox(tmp_path: Path, template: str, said: str) -> None:
    with pytest.raises(InputFileError, match=said):
        render(TextTokenizer(checkpoint(tmp_path, template)), MESSAGES)
