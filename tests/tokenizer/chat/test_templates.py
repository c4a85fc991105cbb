"""The named templates: the strings of the model cards, and the settings that go with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest
from transformers import AutoTokenizer

from moyai.errors import InputFileError
from moyai.recipe.setting_types import ChatTemplateName
from moyai.tokenizer.chat.render import render
from moyai.tokenizer.chat.templates import CHAT_TEMPLATES, named_chat_format
from moyai.tokenizer.text import TextTokenizer
from tiny import write_tiny_sentencepiece, write_tiny_tokenizer
from tokenizer.chat_tokenizers import with_template

SYSTEM = {"role": "system", "content": "あなたは誠実で優秀な日本人のアシスタントです。"}
USER = {"role": "user", "content": "舟とは？"}
ASSISTANT = {"role": "assistant", "content": "乗り物です。"}
AGAIN = {"role": "user", "content": "大きいのは？"}
PREAMBLE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed,"
    " and polite answers to the user's questions."
)
SENTENCE = "以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。"

# Asked for an answer: with a system message, without one, and for a second answer.
PROMPTS: dict[ChatTemplateName, tuple[str, str, str]] = {
    "chatml": (
        f"<s><|im_start|>system\n{SYSTEM['content']}<|im_end|>\n<|im_start|>user\n舟とは？<|im_end|>\n<|im_start|>assistant\n",
        "<s><|im_start|>user\n舟とは？<|im_end|>\n<|im_start|>assistant\n",
        "<s><|im_start|>user\n舟とは？<|im_end|>\n<|im_start|>assistant\n乗り物です。<|im_end|>\n"
        "<|im_start|>user\n大きいのは？<|im_end|>\n<|im_start|>assistant\n",
    ),
    "llama-2": (
        f"<s>[INST] <<SYS>>\n{SYSTEM['content']}\n<</SYS>>\n\n舟とは？ [/INST]",
        "<s>[INST] 舟とは？ [/INST]",
        "<s>[INST] 舟とは？ [/INST] 乗り物です。 </s><s>[INST] 大きいのは？ [/INST]",
    ),
    "llama-3": (
        f"<s><|start_header_id|>system<|end_header_id|>\n\n{SYSTEM['content']}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n舟とは？<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<s><|start_header_id|>user<|end_header_id|>\n\n舟とは？<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<s><|start_header_id|>user<|end_header_id|>\n\n舟とは？<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n乗り物です。<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n大きいのは？<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "llm-jp": (
        f"<s>{SENTENCE}\n\n### 指示:\n舟とは？\n\n### 応答:\n",
        "<s>\n\n### 指示:\n舟とは？\n\n### 応答:\n",
        "<s>\n\n### 指示:\n舟とは？\n\n### 応答:\n乗り物です。</s>\n\n### 指示:\n大きいのは？\n\n### 応答:\n",
    ),
    "rakuten": (
        f"<s>{SYSTEM['content']} USER: 舟とは？ ASSISTANT:",
        f"<s>{PREAMBLE} USER: 舟とは？ ASSISTANT:",
        f"<s>{PREAMBLE} USER: 舟とは？ ASSISTANT: 乗り物です。</s>USER: 大きいのは？ ASSISTANT:",
    ),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_tiny_sentencepiece(tmp_path, "bpe")
    return tmp_path


def test_the_settings_name_the_templates_that_there_are() -> None:
    assert set(get_args(ChatTemplateName)) == set(CHAT_TEMPLATES) == set(PROMPTS)


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_the_strings_of_the_cards(directory: Path, name: ChatTemplateName) -> None:
    tokenizer = with_template(directory, name)
    conversations = ([SYSTEM, USER], [USER], [USER, ASSISTANT, AGAIN])
    assert tuple(render(tokenizer, messages, for_answer=True) for messages in conversations) == PROMPTS[name]


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
@pytest.mark.parametrize("for_answer", [False, True])
@pytest.mark.parametrize("length", [2, 3, 4])
@pytest.mark.parametrize("first", [0, 1])
def test_transformers_renders_the_same(
    directory: Path, name: ChatTemplateName, for_answer: bool, length: int, first: int
) -> None:
    tokenizer = with_template(directory, name)
    theirs = AutoTokenizer.from_pretrained(directory)
    conversation = [SYSTEM, {"role": "user", "content": "  a\n\nb "}, {"role": "assistant", "content": "\n c "}, AGAIN]
    messages = conversation[first:length]
    text = render(tokenizer, messages, for_answer=for_answer)
    assert text == theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=for_answer)
    ids = theirs.apply_chat_template(messages, add_generation_prompt=for_answer)["input_ids"]
    assert tokenizer.encode(text) == ids
    assert ids[:2].count(theirs.bos_token_id) == 1


def test_no_bos_token_where_the_tokenizer_adds_none(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path)  # its bos token is <|im_start|>
    assert render(with_template(tmp_path, "chatml"), [USER]) == "<|im_start|>user\n舟とは？<|im_end|>\n"


def test_llm_jp_writes_its_sentence_whatever_the_system_message_says(directory: Path) -> None:
    tokenizer = with_template(directory, "llm-jp")
    texts = {render(tokenizer, [{"role": "system", "content": said}, USER]) for said in ("", "Speak English.", SENTENCE)}
    assert texts == {f"<s>{SENTENCE}\n\n### 指示:\n舟とは？"}


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_roles_that_it_does_not_know(directory: Path, name: ChatTemplateName) -> None:
    tokenizer = with_template(directory, name)
    with pytest.raises(InputFileError, match="the role is tool; it must be system, user or assistant"):
        render(tokenizer, [USER, {"role": "tool", "content": "x"}])


@pytest.mark.parametrize("name", ["llama-2", "rakuten"])
def test_a_late_system_message(directory: Path, name: ChatTemplateName) -> None:
    with pytest.raises(InputFileError, match="a system message stands only at the beginning"):
        render(with_template(directory, name), [USER, SYSTEM])


def test_a_system_message_without_a_question(directory: Path) -> None:
    with pytest.raises(InputFileError, match="a system message must be followed by a user message"):
        render(with_template(directory, "llama-2"), [SYSTEM, ASSISTANT])


@pytest.mark.parametrize(
    ("name", "eos", "stops"),
    [
        ("chatml", "<|im_end|>", ["<|im_end|>", "<unk>", "</s>"]),
        ("llama-3", "<|eot_id|>", ["<|eot_id|>", "<unk>", "</s>"]),
        ("llm-jp", "</s>", ["</s>", "<unk>"]),
    ],
)
def test_the_end_mark_is_where_generation_stops(
    directory: Path, name: ChatTemplateName, eos: str, stops: list[str]
) -> None:
    (directory / "generation_config.json").write_text('{"eos_token_id": 0, "temperature": 0.2}')
    (directory / "special_tokens_map.json").write_text('{"eos_token": "x", "unk_token": "<unk>"}')
    (directory / "chat_template.jinja").write_text("an older one")
    tokenizer = with_template(directory, name)
    theirs = AutoTokenizer.from_pretrained(directory)
    assert theirs.eos_token == tokenizer.special_texts["eos_token"] == eos
    generation = json.loads((directory / "generation_config.json").read_text())
    assert theirs.convert_ids_to_tokens(generation["eos_token_id"]) == stops
    assert generation["temperature"] == 0.2
    assert json.loads((directory / "special_tokens_map.json").read_text()) == {"eos_token": eos, "unk_token": "<unk>"}


def test_one_stop_is_a_number(directory: Path) -> None:
    with_template(directory, "llama-2")
    assert json.loads((directory / "generation_config.json").read_text()) == {"eos_token_id": 2}


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("chatml", "'<|im_start|>', '<|im_end|>'"),
        ("llama-3", r"'<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>'"),
    ],
)
def test_tokens_that_are_not_there(directory: Path, name: ChatTemplateName, missing: str) -> None:
    with pytest.raises(InputFileError) as caught:
        named_chat_format(name, directory)
    assert str(caught.value) == f"chat_template is {name}, and the tokenizer of {directory} has no token {missing}"
    assert caught.value.hint == "it has what these need: llama-2, llm-jp, rakuten"


def test_a_tokenizer_that_names_no_eos_token(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(directory / "tokenizer.json", other)
    with pytest.raises(InputFileError, match="has no token bos_token, eos_token") as caught:
        named_chat_format("rakuten", other)
    assert caught.value.hint == ""
    assert TextTokenizer(other).special_texts["eos_token"] == ""
