"""A model gets another one's chat format only if its tokenizer can say it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from moyai.errors import InputFileError
from moyai.tokenizer.chat.format import ChatFormat, chat_format, token_ids
from moyai.tokenizer.text import TextTokenizer
from tiny import SPECIALS, TEMPLATE

LLAMA = "{{ '<|start|>' + messages[0]['content'] + '<|im_end|>' }}"


@pytest.fixture
def two(tmp_path: Path, base_dir: Path) -> tuple[Path, Path]:
    """A chat model's directory and one of a base whose special tokens have other ids."""
    chat, own = tmp_path / "chat", tmp_path / "own"
    shutil.copytree(base_dir, chat)
    shutil.copytree(base_dir, own)
    data = json.loads((own / "tokenizer.json").read_text(encoding="utf-8"))
    swapped = dict(zip(SPECIALS, [2, 0, 1], strict=True))
    data["model"]["vocab"] |= swapped
    for token in data["added_tokens"]:
        token["id"] = swapped[token["content"]]
    data["added_tokens"].sort(key=lambda token: token["id"])
    change(own / "tokenizer.json", **data)
    change(own / "tokenizer_config.json", chat_template="base's", eos_token={"content": "<|endoftext|>"}, kept=1)
    change(own / "generation_config.json", eos_token_id=2)
    change(chat / "generation_config.json", eos_token_id=[2, 0], pad_token_id=2, temperature=0.2, bos_token_id=None)
    return chat, own


def change(path: Path, **values: Any) -> None:
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(before | values, ensure_ascii=False), encoding="utf-8")


def test_template_end_mark_and_settings_come_over_in_the_models_own_ids(two: tuple[Path, Path]) -> None:
    chat, own = two
    (own / "chat_template.jinja").write_text("an older one")
    change(own / "special_tokens_map.json", eos_token="<|endoftext|>", bos_token="<|im_start|>")
    found = chat_format(chat, own)
    assert isinstance(found, ChatFormat)
    assert found.eos_token_id == [1, 2]
    found.write(own)
    tokenizer = TextTokenizer(own)
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.special_texts["eos_token"] == "<|im_end|>"
    assert json.loads((own / "generation_config.json").read_text()) == {
        "eos_token_id": [1, 2], "pad_token_id": 1, "temperature": 0.2, "bos_token_id": None
    }  # fmt: skip
    assert json.loads((own / "special_tokens_map.json").read_text()) == {
        "eos_token": "<|im_end|>", "bos_token": "<|im_start|>"
    }  # fmt: skip
    assert json.loads((own / "tokenizer_config.json").read_text())["kept"] == 1


def test_a_template_in_a_file_of_its_own(two: tuple[Path, Path]) -> None:
    chat, own = two
    (chat / "chat_template.jinja").write_text(LLAMA.replace("<|start|>", "<|im_start|>"))
    (chat / "generation_config.json").unlink()
    found = chat_format(chat, own)
    assert isinstance(found, ChatFormat)
    assert found.eos_token_id == 1
    found.write(own)
    assert "im_start|>' + messages[0]" in TextTokenizer(own).chat_template
    assert json.loads((own / "generation_config.json").read_text()) == {"eos_token_id": 1}


def test_why_not(two: tuple[Path, Path], tmp_path: Path) -> None:
    chat, own = two
    tokenizer = Tokenizer.from_file(str(chat / "tokenizer.json"))
    tokenizer.add_special_tokens(["<|start|>", "<|unused|>"])
    tokenizer.save(str(chat / "tokenizer.json"))
    assert isinstance(chat_format(chat, own), ChatFormat), "it does not need what its template does not spell out"
    (chat / "chat_template.jinja").write_text(LLAMA)
    assert chat_format(chat, own) == "the base's tokenizer has no '<|start|>'"
    change(chat / "generation_config.json", bos_token_id=tokenizer.token_to_id("<|unused|>"))
    assert chat_format(chat, own) == "the base's tokenizer has no '<|start|>', '<|unused|>'"
    change(chat / "tokenizer_config.json", eos_token=None)
    assert chat_format(chat, own) == "the chat model's tokenizer names no eos_token"
    (chat / "chat_template.jinja").unlink()
    change(chat / "tokenizer_config.json", chat_template=None)
    assert chat_format(chat, own) == "the chat model has no chat template"
    (tmp_path / "empty").mkdir()
    assert chat_format(tmp_path / "empty", own) == f"{tmp_path / 'empty'} has no tokenizer.json"


def test_broken_files(two: tuple[Path, Path]) -> None:
    chat, own = two
    change(chat / "generation_config.json", eos_token_id=10**6)
    with pytest.raises(InputFileError, match=r"generation_config\.json: 'eos_token_id' has 1000000, which is no id"):
        chat_format(chat, own)
    (chat / "generation_config.json").write_text("[]")
    with pytest.raises(InputFileError, match="is not a JSON object"):
        chat_format(chat, own)
    (chat / "generation_config.json").write_text("{")
    with pytest.raises(InputFileError, match="is not JSON"):
        chat_format(chat, own)


def test_ids_of_tokens(two: tuple[Path, Path], tmp_path: Path) -> None:
    chat, own = two
    assert token_ids(chat, SPECIALS) == [0, 1, 2]
    assert token_ids(own, SPECIALS) == [2, 0, 1]
    with pytest.raises(InputFileError, match="has no token '<x>', '<y>'"):
        token_ids(own, ["<x>", SPECIALS[0], "<y>"])
    with pytest.raises(InputFileError, match=r"has no tokenizer\.json"):
        token_ids(tmp_path, SPECIALS)
