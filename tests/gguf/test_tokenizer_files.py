"""Tokenizer files to a GGUF vocabulary and back, held against the tokenizers library."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import TokenType
from tokenizers import Tokenizer

from moyai.errors import InputFileError
from moyai.gguf.tokenizer_files import read_tokenizer_files, write_tokenizer_files
from moyai.gguf.vocabulary import Vocabulary
from tiny import ENGLISH, JAPANESE, write_tiny_sentencepiece, write_tiny_tokenizer

ROWS = 480
KINDS = {"gpt2": "byte-level", "llama": "bpe", "t5": "unigram"}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tokenizer of each kind, by llama.cpp's name for it."""
    directories = {}
    for model, kind in KINDS.items():
        directories[model] = tmp_path_factory.mktemp(kind)
        if kind == "byte-level":
            write_tiny_tokenizer(directories[model])
        else:
            write_tiny_sentencepiece(directories[model], kind)  # type: ignore[arg-type]
    return directories


def edited(directory: Path, tmp_path: Path, name: str, edit: Callable[[dict[str, Any]], None]) -> Path:
    copy = shutil.copytree(directory, tmp_path / "edited")
    content = json.loads((copy / name).read_text(encoding="utf-8"))
    edit(content)
    (copy / name).write_text(json.dumps(content), encoding="utf-8")
    return copy


@pytest.mark.parametrize("model", KINDS)
def test_there_and_back(tokenizers: dict[str, Path], tmp_path: Path, model: str) -> None:
    before = read_tokenizer_files(tokenizers[model], vocab_size=ROWS)
    assert before.model == model
    assert len(before.tokens) == len(before.types) == ROWS
    write_tokenizer_files(before, tmp_path, max_tokens=512)
    if model == "llama":  # scores are there only in tokenizer.model, which is not written
        shutil.copy(tokenizers[model] / "tokenizer.model", tmp_path)
    assert read_tokenizer_files(tmp_path, vocab_size=ROWS) == before
    there = Tokenizer.from_file(str(tokenizers[model] / "tokenizer.json"))
    back = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in (ENGLISH, JAPANESE, "  ｶﾞ が🛶\n\n\t<s> 0</s>", "", " "):
        ids = back.encode(text).ids
        assert ids == there.encode(text).ids
        assert back.decode(ids) == there.decode(ids)
        assert back.encode(text, add_special_tokens=False).ids == there.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("model", ["llama", "t5"])
def test_what_each_token_is(tokenizers: dict[str, Path], model: str) -> None:
    vocabulary = read_tokenizer_files(tokenizers[model], vocab_size=ROWS)
    num_ids = Tokenizer.from_file(str(tokenizers[model] / "tokenizer.json")).get_vocab_size()
    assert vocabulary.types[:3] == (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL)
    assert set(vocabulary.types[3:259]) == {TokenType.BYTE}
    assert set(vocabulary.types[259:num_ids]) == {TokenType.NORMAL}
    assert set(vocabulary.types[num_ids:]) == {TokenType.UNUSED}
    assert vocabulary.tokens[num_ids] == f"[PAD{num_ids}]"
    assert vocabulary.special_ids == {"unk": 0, "bos": 1, "eos": 2}
    assert (vocabulary.adds_bos, vocabulary.adds_eos, vocabulary.adds_space_prefix) == (True, False, True)


@pytest.mark.parametrize("model", ["llama", "t5"])
def test_a_tokenizer_model_alone(tokenizers: dict[str, Path], tmp_path: Path, model: str) -> None:
    both = read_tokenizer_files(tokenizers[model], vocab_size=ROWS)
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(tokenizers[model] / name, tmp_path)
    alone = read_tokenizer_files(tmp_path, vocab_size=ROWS)
    assert alone == both
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|im_start|>": ROWS - 2}))
    added = read_tokenizer_files(tmp_path, vocab_size=ROWS)
    assert (added.tokens[ROWS - 2], added.types[ROWS - 2]) == ("<|im_start|>", TokenType.CONTROL)


def test_scores_of_sentencepiece_are_taken_where_they_say_the_same(
    tokenizers: dict[str, Path], tmp_path: Path
) -> None:
    both = read_tokenizer_files(tokenizers["llama"], vocab_size=ROWS)
    alone = shutil.copytree(tokenizers["llama"], tmp_path / "alone")
    (alone / "tokenizer.model").unlink()
    ranked = read_tokenizer_files(alone, vocab_size=ROWS)
    assert ranked.tokens == both.tokens
    assert ranked.scores != both.scores

    def order(vocabulary: Vocabulary) -> list[int]:
        merged = [i for i, score in enumerate(ranked.scores) if score > min(ranked.scores)]
        return sorted(merged, key=lambda i: -vocabulary.scores[i])

    assert order(ranked) == order(both)


def test_a_stale_tokenizer_model_gives_no_scores(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    def turned(content: dict[str, Any]) -> None:
        content["model"]["merges"].reverse()

    def extended(content: dict[str, Any]) -> None:
        model = content["model"]
        left, right = model["merges"][0]
        model["vocab"][(left + right) * 2] = len(model["vocab"])
        model["merges"].append([left + right, left + right])

    for number, edit in enumerate((turned, extended)):
        (tmp_path / str(number)).mkdir()
        copy = edited(tokenizers["llama"], tmp_path / str(number), "tokenizer.json", edit)
        scores = read_tokenizer_files(copy, vocab_size=ROWS).scores
        merges = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
        assert min(scores) == -len(merges)
        assert max(scores) == 0.0


def no_bytes(content: dict[str, Any]) -> None:
    content["model"]["vocab"] = {
        ("<byte>" if token == "<0x41>" else token): i for token, i in content["model"]["vocab"].items()
    }


REFUSED: list[tuple[str, str, Callable[[dict[str, Any]], None], str]] = [
    ("llama", "tokenizer.json", lambda c: c.update(normalizer={"type": "NFKC"}), "prepares a text"),
    ("t5", "tokenizer.json", lambda c: c.update(pre_tokenizer={"type": "Whitespace"}), "prepares a text"),
    (
        "t5",
        "tokenizer.json",
        lambda c: c["normalizer"]["normalizers"].insert(0, {"type": "NFKC"}),
        "prepares a text",
    ),
    (
        "llama",
        "tokenizer.json",
        lambda c: c.update(
            normalizer=None, pre_tokenizer={"type": "Metaspace", "replacement": "▁", "split": True}
        ),
        "prepares a text",
    ),
    ("llama", "tokenizer.json", lambda c: c["model"].update(ignore_merges=True), "ignore_merges"),
    ("llama", "tokenizer.json", no_bytes, "not every byte is a token"),
    ("t5", "tokenizer.json", lambda c: c["model"].update(unk_id=None), "without unk_id"),
    ("t5", "tokenizer.json", lambda c: c["model"].update(type="WordPiece"), "type 'WordPiece'"),
    ("t5", "tokenizer.json", lambda c: c["added_tokens"][0].update(lstrip=True), "takes in its surroundings"),
    ("llama", "tokenizer_config.json", lambda c: c.update(eos_token="<end>"), "eos_token '<end>'"),
]


@pytest.mark.parametrize(("model", "name", "edit", "message"), REFUSED)
def test_what_llama_cpp_does_not_have_is_refused(
    tokenizers: dict[str, Path],
    tmp_path: Path,
    model: str,
    name: str,
    edit: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    with pytest.raises(InputFileError, match=message):
        read_tokenizer_files(edited(tokenizers[model], tmp_path, name, edit), vocab_size=ROWS)


def test_more_ids_than_rows(tokenizers: dict[str, Path]) -> None:
    for directory in tokenizers.values():
        with pytest.raises(InputFileError, match="the embedding only 300 rows"):
            read_tokenizer_files(directory, vocab_size=300)


def test_another_tokenizer_model_beside_a_byte_level_tokenizer(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(tokenizers["gpt2"], tmp_path / "copy")
    (copy / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")  # tiktoken's format, as in Llama 3
    before = read_tokenizer_files(tokenizers["gpt2"], vocab_size=ROWS)
    assert read_tokenizer_files(copy, vocab_size=ROWS) == before


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"neither tokenizer.json nor tokenizer.model"):
        read_tokenizer_files(tmp_path, vocab_size=ROWS)


def test_a_model_that_replaces_characters_is_refused(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copy(shared_data("tokenizers/rinna-japanese-gpt2/spiece.model"), tmp_path / "tokenizer.model")
    with pytest.raises(InputFileError, match="replaces characters"):
        read_tokenizer_files(tmp_path, vocab_size=32000)


def test_metaspace(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    for scheme, adds in (("always", True), ("first", True), ("never", False)):

        def edit(content: dict[str, Any], scheme: str = scheme) -> None:
            metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
            content.update(normalizer=None, pre_tokenizer=metaspace)

        (tmp_path / scheme).mkdir()
        copy = edited(tokenizers["llama"], tmp_path / scheme, "tokenizer.json", edit)
        assert read_tokenizer_files(copy, vocab_size=ROWS).adds_space_prefix is adds
