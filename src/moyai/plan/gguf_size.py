"""How large a GGUF file will be."""

from __future__ import annotations

from moyai.gguf.tensor_types import GgufType, stored_tensors, tensor_data_bytes
from moyai.recipe.architecture import Architecture

TOKENIZER_BYTES = 5_000_000
"""Vocabulary and merges, whatever they are stored in; large vocabularies take more."""


def gguf_bytes(architecture: Architecture, kind: GgufType) -> int:
    """Size of a GGUF file: its tensors to the byte, the tokenizer beside them at a guess.

    Args:
        architecture: the model.
        kind: how matrices are stored.
    """
    return TOKENIZER_BYTES + tensor_data_bytes(stored_tensors(architecture, kind))
