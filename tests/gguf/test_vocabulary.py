from pathlib import Path
from typing import Any

import pytest
from gguf.constants import TokenType

from moyai.errors import InputFileError
from moyai.gguf.header import GgufHeader
from moyai.gguf.vocabulary import Vocabulary, VocabularyModel, read_vocabulary, vocabulary_metadata

TOKENS = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "あ")
TYPES = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256, *[TokenType.NORMAL] * 4)


def vocabulary(model: VocabularyModel, **changes: Any) -> Vocabulary:
    scores = tuple([0.0] * 259 + [-1.0, -2.0, -3.0, -4.0])
    content: dict[str, Any] = {"special_ids": {"bos": 1, "eos": 2, "unk": 0}, "scores": scores, "adds_bos": True}
    return Vocabulary(model=model, tokens=TOKENS, types=TYPES, **content | changes)


def read(metadata: dict[str, Any]) -> Vocabulary:
    return read_vocabulary(GgufHeader(Path("a.gguf"), metadata, {}))


@pytest.mark.parametrize("model", ["llama", "t5"])
@pytest.mark.parametrize("changes", [{}, {"adds_space_prefix": True, "adds_bos": False, "adds_eos": True}])
def test_there_and_back(model: VocabularyModel, changes: dict[str, Any]) -> None:
    before = vocabulary(model, **changes)
    assert read(vocabulary_metadata(before)) == before


def test_unigram_spells_ascii_bytes_out() -> None:
    metadata = vocabulary_metadata(vocabulary("t5"))
    assert metadata["tokenizer.ggml.tokens"][3 + 10] == "\n"
    assert metadata["tokenizer.ggml.token_type"][3 + 10] == TokenType.NORMAL
    assert metadata["tokenizer.ggml.scores"][3 + 10] == -14.0
    assert metadata["tokenizer.ggml.tokens"][3 + 0xE3] == "<0xE3>"
    assert vocabulary_metadata(vocabulary("llama"))["tokenizer.ggml.tokens"][3 + 10] == "<0x0A>"


def test_what_is_left_out_is_what_llama_cpp_takes() -> None:
    for model, bos, adds in (("llama", 1, (True, False, True)), ("t5", None, (False, True, False))):
        metadata = vocabulary_metadata(vocabulary("llama"))
        metadata = {key: value for key, value in metadata.items() if not key.endswith(("_id", "_token", "_prefix"))}
        found = read(metadata | {"tokenizer.ggml.model": model})
        assert found.special_ids.get("bos") == bos
        assert (found.adds_bos, found.adds_eos, found.adds_space_prefix) == adds


@pytest.mark.parametrize(
    ("model", "key", "value", "message"),
    [
        ("llama", "model", "plamo2", "'plamo2'; gpt2, llama, t5 can be read"),
        ("llama", "scores", None, "one finite tokenizer.ggml.scores for each of 263"),
        ("llama", "scores", [0.0], "one finite tokenizer.ggml.scores for each of 263"),
        ("t5", "scores", [float("nan")] * 263, "one finite tokenizer.ggml.scores for each of 263"),
        ("t5", "scores", ["0"] * 263, "one finite tokenizer.ggml.scores for each of 263"),
        ("t5", "remove_extra_whitespaces", True, "changes a text before it is cut"),
        ("t5", "precompiled_charsmap", [1, 2, 3], "changes a text before it is cut"),
        ("llama", "unknown_token_id", 263, "unknown_token_id 263, but 263 tokens"),
    ],
)
def test_faults(model: VocabularyModel, key: str, value: Any, message: str) -> None:
    metadata = vocabulary_metadata(vocabulary(model))
    with pytest.raises(InputFileError, match=message):
        read(metadata | {f"tokenizer.ggml.{key}": value})


def test_an_empty_table_of_characters_changes_nothing() -> None:
    metadata = vocabulary_metadata(vocabulary("t5"))
    assert read(metadata | {"tokenizer.ggml.precompiled_charsmap": []}) == vocabulary("t5")
