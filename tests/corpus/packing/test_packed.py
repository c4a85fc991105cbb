"""A packed corpus: read back it is what was packed, and another tokenizer, count or byte is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.small_corpus import TEXTS, write_corpus
from moyai.corpus.mixing.mixture import Mixture
from moyai.corpus.packing.packed import MANIFEST_NAME, PackedCorpus
from moyai.errors import InputFileError
from moyai.forest.pack import fill_rows
from moyai.tokenizer.text import TextTokenizer


def change(directory: Path, *path: Any, value: Any) -> None:
    data = json.loads((directory / MANIFEST_NAME).read_text())
    target = data
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    (directory / MANIFEST_NAME).write_text(json.dumps(data))


def read_all(directory: Path) -> None:
    for source in PackedCorpus.open(directory).sources.values():
        for document in source:
            assert len(document)


def fault(directory: Path) -> str:
    with pytest.raises(InputFileError) as caught:
        read_all(directory)
    assert str(directory) in str(caught.value)
    return str(caught.value)


def test_what_was_packed_is_read_over_all_shards(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    tokenizer = TextTokenizer(tmp_path / "tokenizer")
    for name, texts in TEXTS.items():
        source = corpus.sources[name]
        expected = [[tokenizer.document_start, *ids, tokenizer.document_end] for ids in tokenizer.encode_batch(texts)]
        assert [document.tolist() for document in source] == expected
        assert source[-1].tolist() == expected[-1]
        assert [document.tolist() for document in source[3:5]] == expected[3:5]
        assert (len(source), source.num_tokens) == (len(texts), sum(map(len, expected)))
        assert source[0].dtype == np.uint16
        with pytest.raises(IndexError):
            source[len(texts)]
    assert len(corpus.manifest.sources["ja"].shards) > 2
    corpus.verify()


def test_a_mixture_of_mapped_sources_is_the_one_of_lists(tmp_path: Path) -> None:
    mapped = write_corpus(tmp_path).sources
    lists = {name: [document.tolist() for document in source] for name, source in mapped.items()}
    first, second = (Mixture(sources, {"ja": 3, "en": 1}, 5) for sources in (mapped, lists))
    for _ in range(200):
        one, other = first.piece(7), second.piece(7)
        assert (one.source, one.document, one.start, one.following) == (
            other.source, other.document, other.start, other.following,
        )  # fmt: skip
        assert list(one.ids) == list(other.ids)
    json.dumps(first.state())


def test_the_tokenizer_it_was_packed_with_is_known_again(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    directory = tmp_path / "tokenizer"
    corpus.require_tokenizer(TextTokenizer(directory))
    path = directory / "tokenizer.json"
    data = json.loads(path.read_text())
    same = dict(reversed(data.items())) | {"decoder": None, "post_processor": None}
    path.write_text(json.dumps(same, indent=4))
    corpus.require_tokenizer(TextTokenizer(directory))
    data["model"]["merges"] = data["model"]["merges"][:-1]
    path.write_text(json.dumps(data))
    with pytest.raises(InputFileError, match="was packed with another tokenizer than that of"):
        corpus.require_tokenizer(TextTokenizer(directory))


def test_other_marks_between_documents_are_noticed(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    path = tmp_path / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_bos_token": True}))
    with pytest.raises(InputFileError, match="was packed with other marks between documents than that of"):
        corpus.require_tokenizer(TextTokenizer(tmp_path / "tokenizer"))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), "moyai packed corpus 2", "is not the manifest of a packed corpus: format"),
        (("sources", "ja", "read"), 31, "sources.ja.read is 31, and its parts come to 32"),
        (("sources", "ja", "documents"), 29, "sources.ja.documents is 29, and its parts come to 30"),
        (("sources", "en", "tokens"), 1, "sources.en.tokens is 1"),
        (("sources", "en", "tokens"), -1, "sources.en.tokens"),
        (("sources", "ja", "shards", 0, "name"), "../../etc/passwd", "sources.ja.shards.0.name"),
        (("sources", "ja", "shards", 0, "name"), "../00000", "sources.ja.shards.0.name"),
        (("sources", "ja", "shards", 0, "name"), "ja/00009", "00009.bin does not exist"),
        (("sources", "ja", "shards", 0, "bin_bytes"), 5, "00000.bin has"),
        (("tokenizer", "num_ids"), 260, "has an id that its tokenizer, with 260, does not have"),
    ],
)
def test_a_manifest_that_is_not_true(tmp_path: Path, path: tuple[Any, ...], value: Any, said: str) -> None:
    write_corpus(tmp_path)
    change(tmp_path / "corpus", *path, value=value)
    assert said in fault(tmp_path / "corpus")


def test_shards_of_other_counts_than_the_manifest_says(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    for key in ("documents", "tokens"):
        data = json.loads((tmp_path / "corpus" / MANIFEST_NAME).read_text())
        shards = data["sources"]["ja"]["shards"]
        shards[0][key] += 1
        shards[1][key] -= 1
        (tmp_path / "corpus" / MANIFEST_NAME).write_text(json.dumps(data))
        assert "and by the manifest" in fault(tmp_path / "corpus")


def test_a_missing_shard_manifest_or_directory(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    (tmp_path / "corpus" / "ja" / "00001.bin").unlink()
    assert "00001.bin does not exist" in fault(tmp_path / "corpus")
    (tmp_path / "corpus" / MANIFEST_NAME).write_text("{")
    assert "is not the manifest of a packed corpus" in fault(tmp_path / "corpus")
    assert "does not exist" in fault(tmp_path / "nowhere")


def test_a_changed_byte_is_found_by_the_hash(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    path = tmp_path / "corpus" / "en" / "00000.bin"
    content = bytearray(path.read_bytes())
    content[4] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"00000\.bin is not what was packed"):
        corpus.verify()


def damage(directory: Path, place: int) -> None:
    path = directory / "ja" / "00000.bin"
    content = bytearray(path.read_bytes())
    content[2 * place : 2 * place + 2] = b"\xff\xff"
    path.write_bytes(content)


def test_of_a_document_that_is_taken_in_parts_no_more_is_read_than_the_part(tmp_path: Path) -> None:
    whole = write_corpus(tmp_path).sources["ja"][0].tolist()
    damage(tmp_path / "corpus", 5)
    source = PackedCorpus.open(tmp_path / "corpus").sources["ja"]
    assert source.length(0) == len(whole) > 6
    assert source.part(0, 1, 5).tolist() == whole[1:5]
    assert source.part(0, 6, 900).tolist() == whole[6:]
    for start, stop in ((0, 6), (5, None)):
        with pytest.raises(InputFileError, match="document 0 has an id that its tokenizer"):
            source.part(0, start, stop)
    with pytest.raises(IndexError):
        source.length(len(source))


def test_rows_are_filled_without_reading_a_token(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    damage(tmp_path / "corpus", 0)
    sources = PackedCorpus.open(tmp_path / "corpus").sources
    rows = fill_rows(Mixture(sources, {"ja": 1, "en": 0}, 0), row_tokens=64, num_rows=20)
    with pytest.raises(InputFileError, match="has an id that its tokenizer"):
        rows[:]


def test_a_corpus_of_very_many_shards(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    for path in (tmp_path / "corpus" / "ja").glob("00000.*"):
        path.rename(path.with_stem("100000"))
    change(tmp_path / "corpus", "sources", "ja", "shards", 0, "name", value="ja/100000")
    read_all(tmp_path / "corpus")
