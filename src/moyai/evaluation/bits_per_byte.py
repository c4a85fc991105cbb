"""Bits per byte of held-out text: a loss that does not change when the vocabulary does.

    bits per byte = Σ -log2 p(token | document so far) / bytes of the documents

Every token of a document counts, the first one too (it follows the document mark); the mark itself and the end of the
document do not.  The tokens must spell the text byte for byte (composed, where the tokenizer composes characters).  The
space that a SentencePiece tokenizer puts before a text is no byte of it: it is predicted as part of the first token, and
counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moyai.corpus.reading.documents import Document
from moyai.evaluation.scorer import Scorer
from moyai.forest.tree import sequence_tree
from moyai.progress import Bar
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.token_bytes import text_bytes


@dataclass(frozen=True)
class TextScore:
    """How well a model predicts a set of documents."""

    bits_per_byte: float
    characters_per_token: float
    num_documents: int
    num_bytes: int
    num_tokens: int


def first_characters(documents: Sequence[Document], max_characters: int) -> list[str]:
    """The beginning of each document: the same text for every model, whatever its tokens are."""
    return [document.text[:max_characters] for document in documents]


def score_texts(scorer: Scorer, tokenizer: TextTokenizer, texts: Sequence[str], bar: Bar) -> TextScore:
    """Bits per byte of `texts`, each on its own."""
    trees, num_bytes, num_tokens = [], 0, 0
    for text in texts:
        ids, _ = tokenizer.encode_with_bytes(text)
        num_bytes += len(text_bytes(text))
        num_tokens += len(ids)
        trees.append(sequence_tree([tokenizer.document_start, *ids]))
    nats = -sum(sum(owners.values()) for owners in scorer.log_probs(trees, bar))
    return TextScore(
        bits_per_byte=nats / math.log(2) / num_bytes,
        characters_per_token=sum(map(len, texts)) / num_tokens,
        num_documents=len(texts),
        num_bytes=num_bytes,
        num_tokens=num_tokens,
    )
