"""The keys of a chat-vector file, as `moyai merge` and the stage check them."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from moyai.errors import InputFileError, RecipeError
from moyai.recipe.merge_file import read_merge_file, recipe_of
from moyai.recipe.settings import ChatVectorSettings

FULL = """\
base_model: a/continued
chat_vectors:
  - {chat: a/chat, base: a/base, ratio: 0.5}
  - {chat: b/chat, base: a/base}
skip: [embeddings, norms]
special_tokens: {"<|im_start|>": "<|im_start|>"}
chat_template: false
dtype: bfloat16
"""
TWO = "base_model: a/b\nchat_vectors: [{chat: a/c, base: a/d}]\n"


def read(tmp_path: Path, text: str) -> tuple[str, ChatVectorSettings]:
    path = tmp_path / "vector.yml"
    path.write_text(text, encoding="utf-8")
    recipe = recipe_of(read_merge_file(path))
    settings = recipe.steps()[1].settings
    assert isinstance(settings, ChatVectorSettings)
    return recipe.base, settings


def test_every_key_is_read(tmp_path: Path) -> None:
    base, settings = read(tmp_path, FULL)
    assert base == "a/continued"
    assert [vector.model_dump() for vector in settings.chat_vectors] == [
        {"chat": "a/chat", "base": "a/base", "ratio": 0.5},
        {"chat": "b/chat", "base": "a/base", "ratio": 1.0},
    ]
    assert (settings.skip, settings.dtype, settings.chat_template) == (("embeddings", "norms"), "bfloat16", False)
    assert settings.special_tokens == {"<|im_start|>": "<|im_start|>"}
    assert settings.named_models() == ("a/chat", "a/base", "b/chat")
    assert ChatVectorSettings.model_validate_json(settings.model_dump_json(by_alias=True)) == settings


def test_two_keys_are_enough(tmp_path: Path) -> None:
    _, settings = read(tmp_path, TWO)
    assert (settings.skip, settings.dtype, settings.chat_template, settings.special_tokens) == (None, None, True, {})
    assert read(tmp_path, TWO + "skip: []\n")[1].skip == ()
    assert read(tmp_path, TWO + "skip: norms\n")[1].skip == ("norms",)
    assert read(tmp_path, TWO.replace("a/d}", "a/d, ratio: -1}"))[1].chat_vectors[0].ratio == -1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TWO + "skip: [norm]\n", "vector.yml: 'chat_vector.skip.0' is 'norm': input should be 'embeddings', 'head'"),
        (TWO + "skips: []\n", "unknown key 'chat_vector.skips' (did you mean 'skip'?)"),
        (TWO + "dtype: int8\n", "'chat_vector.dtype' is 'int8'"),
        (TWO + "chat_template: 1\n", "'chat_vector.chat_template' is 1"),
        (TWO + "special_tokens: {a: 1}\n", "'chat_vector.special_tokens.a' is 1"),
        ("base_model: a/b\nchat_vectors: []\n", "'chat_vector.chat_vectors' is []"),
        ("base_model: a/b\nchat_vectors: {chat: a/b}\n", "'chat_vector.chat_vectors' is {'chat': 'a/b'}"),
        ("base_model: a/b\nchat_vectors: [{chat: a/b}]\n", "'chat_vector.chat_vectors.0.base' is missing"),
        (TWO.replace("a/d}", "a/d, ratio: .inf}"), "'chat_vector.chat_vectors.0.ratio' is inf"),
        (TWO.replace("a/d}", "a/d, ratio: 11}"), "'chat_vector.chat_vectors.0.ratio' is 11"),
        (TWO.replace("a/d}", "a/d, ratio: half}"), "'chat_vector.chat_vectors.0.ratio' is 'half'"),
        (TWO.replace("a/d}", "a/d, ration: 1}"), "unknown key 'chat_vector.chat_vectors.0.ration'"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as told:
        read(tmp_path, text)
    assert said in str(told.value)


def test_all_of_it_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as told:
        read(tmp_path, TWO.replace("a/d}", "a/d, ratio: x}") + "skip: [norm]\ndtype: f8\nextra: 1\n")
    for said in ("ratio", "skip.0", "dtype", "'chat_vector.extra'"):
        assert said in str(told.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chat_vectors: []\n", "'base_model' is missing"),
        ("base_model: [a]\nchat_vectors: []\n", "'base_model' is ['a'], not a model"),
        (TWO.replace("a/c", "a/c+adapter"), "a model with an adapter"),
        (TWO + "experts: []\n", "has both of 'experts' and 'chat_vectors'"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputFileError) as told:
        read(tmp_path, text)
    assert said in str(told.value)


def test_the_schema_knows_the_keys() -> None:
    schema = TypeAdapter(ChatVectorSettings).json_schema()
    assert set(schema["$defs"]["ChatVector"]["properties"]) == {"chat", "base", "ratio"}
    assert schema["required"] == ["chat_vectors"]
