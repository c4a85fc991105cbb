"""A sample of a corpus too large to be held: parts of documents drawn by a seed, in one pass and bounded memory."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# A document is drawn in parts, so that a book counts as much as the articles that make up a book's length.
_PART_CHARACTERS = 10_000


@dataclass(frozen=True)
class TextSample:
    """The texts that were drawn, in the corpus's order, and what there was."""

    texts: tuple[str, ...]
    num_documents: int
    """Of the corpus."""
    num_characters: int
    """Of the corpus."""

    @property
    def num_sampled_characters(self) -> int:
        """Of the texts that were drawn."""
        return sum(map(len, self.texts))


def sample_texts(texts: Iterable[str], *, max_characters: int, seed: int) -> TextSample:
    """All texts where they come to at most `max_characters`, else as many as fit, drawn at random.

    A text longer than 10,000 characters counts as several.  Which are drawn depends on the seed and the texts alone:
    those whose hashes are lowest.

    >>> drawn = sample_texts(["a" * 9, "b" * 8, "c" * 7], max_characters=20, seed=0)
    >>> drawn.texts, drawn.num_documents, drawn.num_characters
    (('bbbbbbbb', 'ccccccc'), 3, 24)
    """
    # The part of the highest hash is on top of the heap, and leaves it first.
    held: list[tuple[int, int, str]] = []
    num_documents = num_characters = num_held = number = 0
    bound = 1 << 64
    for text in texts:
        num_documents += 1
        num_characters += len(text)
        for part in _parts(text):
            number += 1
            digest = hashlib.sha256(f"{seed} {part}".encode()).digest()
            order = int.from_bytes(digest[:8], "big")
            if order >= bound:
                continue
            heapq.heappush(held, (-order, number, part))
            num_held += len(part)
            while num_held > max_characters:
                highest, _, left_out = heapq.heappop(held)
                num_held -= len(left_out)
                bound = -highest
    in_order = sorted(held, key=lambda item: item[1])
    return TextSample(tuple(part for _, _, part in in_order), num_documents, num_characters)


def _parts(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PART_CHARACTERS):
        yield text[start : start + _PART_CHARACTERS]
