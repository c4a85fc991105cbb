"""What a checkpoint's tokenizer files say, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moyai.errors import InputFileError
from moyai.tokenizer.extension.extend import learn_extension, write_extended
from moyai.tokenizer.sentencepiece.file import Piece, PieceType, read_sentencepiece
from moyai.tokenizer.sentencepiece.write import sentencepiece_bytes
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.vocabulary import read_vocabulary
from tokenizer.conftest import added, write_family

NO_FAMILY = "byte-level BPE is known, and SentencePiece's BPE and Unigram with byte fallback"


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("smollm2", "byte-level BPE"),
        ("llama3", "byte-level BPE"),
        ("mistral", "SentencePiece BPE"),
        ("mistral-model", "SentencePiece BPE"),
        ("llm-jp", "Unigram"),
        ("llm-jp-model", "Unigram"),
    ],
)
def test_families(tmp_path: Path, family: str, kind: str) -> None:
    vocabulary = read_vocabulary(write_family(tmp_path, family))
    assert vocabulary.family == kind
    assert vocabulary.joins_any_split == (kind == "SentencePiece BPE")
    assert vocabulary.num_ids == vocabulary.tokenizer.get_vocab_size()
    for id_, token in enumerate(vocabulary.tokens):
        assert vocabulary.tokenizer.id_to_token(id_) == token


@pytest.mark.parametrize("family", ["mistral", "llm-jp"])
def test_a_model_alone_says_what_both_files_say(tmp_path: Path, family: str) -> None:
    both = read_vocabulary(write_family(tmp_path / "both", family))
    alone = read_vocabulary(write_family(tmp_path / "alone", f"{family}-model"))
    assert alone.ids == both.ids
    text = "舟を寄せる boat 漣漪\n"
    assert alone.tokenizer.encode(text).ids == both.tokenizer.encode(text).ids, "the mark in front included"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no tokenizer.json"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        (json.dumps({"model": {"type": "Unigram"}}), NO_FAMILY),
        (json.dumps({"model": {"type": "WordPiece"}}), NO_FAMILY),
        ('{"model": {"type": "BPE"}, "decoder": {"type": "BPEDecoder"}}', NO_FAMILY),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputFileError, match=said):
        read_vocabulary(tmp_path)


def changed(directory: Path, change: Any) -> Path:
    path = directory / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    return directory


def test_two_files_of_different_tokenizers_are_refused(tmp_path: Path) -> None:
    def swap(data: dict[str, Any]) -> None:
        vocab = data["model"]["vocab"]
        first, second = list(vocab)[300:302]
        vocab[first], vocab[second] = vocab[second], vocab[first]

    with pytest.raises(InputFileError, match=r"as piece 300 of tokenizer\.model"):
        read_vocabulary(changed(write_family(tmp_path, "mistral"), swap))


def test_an_added_token_that_would_be_loaded_under_another_id_is_refused(tmp_path: Path) -> None:
    def leave_a_gap(data: dict[str, Any]) -> None:
        data["added_tokens"].append(added("<|far|>", len(data["model"]["vocab"]) + 5))

    with pytest.raises(InputFileError, match=r"'<\|far\|>' has id"):
        read_vocabulary(changed(write_family(tmp_path, "mistral"), leave_a_gap))


@pytest.mark.parametrize("family", ["mistral", "qwen", "llm-jp"])
def test_added_tokens_that_only_other_files_name_keep_their_ids(
    tmp_path: Path, family: str, japanese: list[str]
) -> None:
    base_dir = write_family(tmp_path / "base", family)
    num_ids = read_vocabulary(base_dir).num_ids
    name_elsewhere(base_dir, num_ids)
    base = read_vocabulary(base_dir)
    assert base.num_ids == num_ids + 2
    assert (base.is_special("<|pad|>"), base.is_special("<|note|>")) == (True, False)
    (tmp_path / "out").mkdir()
    write_extended(base, learn_extension(base, japanese, num_pieces=20), tmp_path / "out")
    extended = TextTokenizer(tmp_path / "out")
    assert extended.encode("<|note|><|pad|>") == [num_ids, num_ids + 1]
    assert extended.num_ids == num_ids + 22
    name_elsewhere(base_dir, num_ids + 3)
    with pytest.raises(InputFileError, match=r"'<\|note\|>' has id"):
        read_vocabulary(base_dir)


def name_elsewhere(base_dir: Path, first: int) -> None:
    path = base_dir / "tokenizer_config.json"
    note = {str(first): {"content": "<|note|>", "special": False}}
    settings = json.loads(path.read_text(encoding="utf-8")) | {"added_tokens_decoder": note}
    path.write_text(json.dumps(settings), encoding="utf-8")
    (base_dir / "added_tokens.json").write_text(json.dumps({"<|note|>": first, "<|pad|>": first + 1}), encoding="utf-8")


def test_a_gap_before_the_added_tokens_of_a_model_alone_is_refused(tmp_path: Path) -> None:
    base_dir = write_family(tmp_path, "llm-jp-model")
    first = read_vocabulary(base_dir).num_ids
    (base_dir / "added_tokens.json").write_text(json.dumps({"<|pad|>": first + 3}), encoding="utf-8")
    with pytest.raises(InputFileError, match=rf"'<\|pad\|>' has id {first + 3}, but it is loaded as {first}"):
        read_vocabulary(base_dir)


def with_pieces(base_dir: Path, *pieces: Piece) -> Path:
    path = base_dir / "tokenizer.model"
    model = read_sentencepiece(path)
    path.write_bytes(sentencepiece_bytes(replace(model, pieces=(*model.pieces, *pieces))))
    return base_dir


def test_a_model_with_more_pieces_than_there_are_ids_is_refused(tmp_path: Path) -> None:
    base_dir = with_pieces(write_family(tmp_path, "mistral"), Piece("<unused>", 0.0, PieceType.UNUSED))
    with pytest.raises(InputFileError, match=r"pieces in tokenizer\.model, but \d+ ids in tokenizer\.json"):
        read_vocabulary(base_dir)


def test_user_defined_spaces_cannot_stand_alone(tmp_path: Path) -> None:
    base_dir = with_pieces(write_family(tmp_path, "mistral-model"), Piece("▁▁▁", 0.0, PieceType.USER_DEFINED))
    with pytest.raises(InputFileError, match=r"spaces in user-defined pieces such as '▁▁▁'"):
        read_vocabulary(base_dir)


def test_a_model_that_changes_characters_cannot_stand_alone(tmp_path: Path, shared_data: Any) -> None:
    path = shared_data("tokenizers/rinna-japanese-gpt2/spiece.model")
    (tmp_path / "tokenizer.model").write_bytes(path.read_bytes())
    with pytest.raises(InputFileError, match="it replaces characters or squeezes spaces"):
        read_vocabulary(tmp_path)
