"""Where the words of Japanese text begin, by SudachiPy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from moyai.errors import UserError

# Sudachi takes less than 49,149 bytes at a time; a character has at most 4.
_MAX_CHARACTERS = 12_000
_SENTENCE_END = re.compile(r"[。．！？!?\n]")


class JapaneseWords:
    """Finds the beginnings of words; the longest units that the dictionary has count as one (split mode C)."""

    def __init__(self) -> None:
        """Load the dictionary.

        Raises:
            UserError: SudachiPy or its dictionary is not installed.
        """
        try:
            from sudachipy import Dictionary, SplitMode
        except ImportError:
            raise UserError("Japanese words need sudachipy", hint="pip install 'moyai[corpus]'") from None
        try:
            self._tokenizer: Any = Dictionary(dict="core").tokenizer(mode=SplitMode.C)
        except ModuleNotFoundError:
            raise UserError("Japanese words need sudachidict_core", hint="pip install 'moyai[corpus]'") from None

    def __call__(self, text: str) -> list[int]:
        """The places in `text`, in characters, where a word begins; between two ASCII characters none does."""
        return [
            offset + morpheme.begin()
            for offset, part in _parts(text)
            for morpheme in self._tokenizer.tokenize(part)
            if not text[max(offset + morpheme.begin() - 1, 0) : offset + morpheme.begin() + 1].isascii()
        ]


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """The text in parts that Sudachi takes, cut behind sentences where there are any, with the place of each."""
    start = 0
    while start < len(text):
        part = text[start : start + _MAX_CHARACTERS]
        if start + len(part) < len(text):
            ends = [found.end() for found in _SENTENCE_END.finditer(part)]
            part = part[: ends[-1]] if ends else part
        yield start, part
        start += len(part)
