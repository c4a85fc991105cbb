"""Texts become shards: every document whole with its marks, in order, whatever the batches and shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from moyai.corpus.packing.indexed_file import IndexedFile
from moyai.corpus.packing.pack import Packed, pack_texts
from moyai.corpus.packing.packed import PackedBy
from moyai.tokenizer.text import TextTokenizer
from tiny import ENGLISH, JAPANESE, write_tiny_tokenizer

TEXTS = [f"{number}. {ENGLISH * (number % 3)}{JAPANESE[: number % 40]}" for number in range(90)] + ["", "舟" * 3000]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    directory = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(directory)
    return TextTokenizer(directory)


def pack(texts: Iterator[str], tokenizer: TextTokenizer, directory: Path, *, shard_bytes: int = 10**9) -> Packed:
    loaded = Tokenizer.from_file(str(tokenizer.checkpoint_dir / "tokenizer.json"))
    return pack_texts(texts, loaded, PackedBy.of(tokenizer), directory, shard_bytes=shard_bytes)


def expected(tokenizer: TextTokenizer) -> list[list[int]]:
    return [[tokenizer.document_start, *ids, tokenizer.document_end] for ids in tokenizer.encode_batch(TEXTS)]


def read(directory: Path, packed: Packed) -> list[list[int]]:
    files = [IndexedFile.open(directory.parent / shard.name) for shard in packed.shards]
    return [file[number].tolist() for file in files for number in range(len(file))]


@pytest.mark.parametrize("batch_characters", [1, 500, 1 << 18])
@pytest.mark.parametrize("shard_bytes", [1, 900, 10**9])
def test_every_document_is_there_whole_and_in_order(
    tmp_path: Path, tokenizer: TextTokenizer, batch_characters: int, shard_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moyai.corpus.packing.pack._BATCH_CHARACTERS", batch_characters)
    packed = pack(iter(TEXTS), tokenizer, tmp_path / "ja", shard_bytes=shard_bytes)
    documents = expected(tokenizer)
    assert read(tmp_path / "ja", packed) == documents
    assert (packed.documents, packed.tokens) == (len(TEXTS), sum(map(len, documents)))
    assert packed.characters == sum(map(len, TEXTS))
    assert packed.bytes == sum(len(text.encode()) for text in TEXTS)
    assert [shard.name for shard in packed.shards] == [f"ja/{number:05}" for number in range(len(packed.shards))]
    for shard in packed.shards:
        assert shard.bin_bytes <= shard_bytes or shard.documents == 1
        assert shard.bin_bytes == 2 * shard.tokens


def test_the_bytes_do_not_depend_on_the_batches(
    tmp_path: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pack(iter(TEXTS), tokenizer, tmp_path / "whole" / "ja", shard_bytes=900)
    monkeypatch.setattr("moyai.corpus.packing.pack._BATCH_CHARACTERS", 77)
    assert pack(iter(TEXTS), tokenizer, tmp_path / "small" / "ja", shard_bytes=900) == whole


def test_nothing_to_pack_leaves_no_shard(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    assert pack(iter([]), tokenizer, tmp_path / "ja") == Packed(0, 0, 0, 0, ())
    assert not list((tmp_path / "ja").iterdir())


def test_a_fault_in_reading_stops_the_packing_and_leaves_nothing_half(
    tmp_path: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moyai.corpus.packing.pack._BATCH_CHARACTERS", 50)

    def texts() -> Iterator[str]:
        yield from TEXTS[:40]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        pack(texts(), tokenizer, tmp_path / "ja")
    assert not list((tmp_path / "ja").iterdir())


def test_a_fault_in_writing_stops_the_reading(
    tmp_path: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moyai.corpus.packing.pack._BATCH_CHARACTERS", 1)
    asked = []

    def texts() -> Iterator[str]:
        for number in range(10_000):
            asked.append(number)
            yield "舟"

    def full(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr("moyai.corpus.packing.indexed_file.IndexedWriter.add", full)
    with pytest.raises(OSError, match="full"):
        pack(texts(), tokenizer, tmp_path / "ja")
    assert len(asked) < 100
