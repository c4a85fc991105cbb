"""What an entry of the mixture comes to, and how much of it is held while it is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moyai.stages.pretrain import tokenised_documents
from moyai.tokenizer.text import TextTokenizer
from tiny import write_tiny_tokenizer


def test_a_file_is_encoded_a_few_texts_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_tokenizer(tmp_path)
    tokenizer, texts = TextTokenizer(tmp_path), [f"{number} " * 200_000 for number in range(5)]
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    ends = tokenizer.document_start, tokenizer.document_end
    expected = [[ends[0], *tokenizer.encode(text), ends[1]] for text in texts]
    held, encode_batch = [], TextTokenizer.encode_batch

    def counting(self: TextTokenizer, batch: list[str]) -> list[list[int]]:
        held.append(len(batch))
        return encode_batch(self, batch)

    monkeypatch.setattr(TextTokenizer, "encode_batch", counting)
    (documents,) = tokenised_documents(str(path), tokenizer, {}).values()
    assert [list(document) for document in documents] == expected
    assert all(np.asarray(document).dtype == np.int32 for document in documents)
    assert held == [3, 2]
