"""Loading a `tokenizer.json` so that it encodes whole texts."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a file; see `tokenizer_of`."""
    return tokenizer_of(path.read_text(encoding="utf-8"))


def tokenizer_of(content: str) -> Tokenizer:
    """The tokenizer that the content of a `tokenizer.json` describes; it neither cuts texts short nor pads them.

    transformers saves the `truncation` and `padding` of its last call in the file, and `tokenizers` applies them.
    """
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
