"""A small packed corpus: two sources, many shards, a few documents dropped."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from moyai.corpus.packing.pack import pack_texts
from moyai.corpus.packing.packed import Manifest, PackedBy, PackedCorpus, SourceCounts
from moyai.tokenizer.text import TextTokenizer
from tiny import write_tiny_tokenizer

TEXTS = {"ja": [f"{number}番の舟" for number in range(30)], "en": [f"boat {number}" for number in range(20)]}


def write_corpus(root: Path, *, shard_bytes: int = 100) -> PackedCorpus:
    (root / "tokenizer").mkdir()
    write_tiny_tokenizer(root / "tokenizer")
    tokenizer = Tokenizer.from_file(str(root / "tokenizer" / "tokenizer.json"))
    by = PackedBy.of(TextTokenizer(root / "tokenizer"))
    sources = {}
    for name, texts in TEXTS.items():
        packed = pack_texts(iter(texts), tokenizer, by, root / "corpus" / name, shard_bytes=shard_bytes)
        sources[name] = SourceCounts(read=len(texts) + 2, dropped={"language": 2}, **vars(packed))
    Manifest(tokenizer=by, sources=sources).write(root / "corpus")
    return PackedCorpus.open(root / "corpus")
