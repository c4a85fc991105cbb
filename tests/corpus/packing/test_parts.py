"""A part is packed whole, whatever limits are saved with the tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from moyai.corpus.packing.clean import clean_file
from moyai.corpus.packing.parts import pack_part
from moyai.corpus.packing.preparation import Preparation
from moyai.progress import SilentProgress
from moyai.recipe.corpus_settings import PrepareSettings
from tiny import ENGLISH, write_tiny_tokenizer


def packed_tokens(root: Path, work: str) -> list[int]:
    (root / work).mkdir()
    settings = PrepareSettings.model_validate({"sources": {"s": str(root / "a.jsonl")}})
    preparation = Preparation(settings, root / work, root)
    for job in preparation.clean_jobs():
        clean_file(job)
    preparation.find_duplicates(SilentProgress())
    return [pack_part(job).tokens for job in preparation.pack_jobs()]


def test_texts_are_neither_cut_nor_padded(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path)
    rows = [{"text": ENGLISH * 9, "split": "train"}, {"text": "boat", "split": "train"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    expected, path = packed_tokens(tmp_path, "before"), tmp_path / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(path))
    assert packed_tokens(tmp_path, "after") == expected
