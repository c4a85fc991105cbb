"""How large a GGUF file will be."""

from __future__ import annotations

from moyai.plan.parameters import weight_groups
from moyai.recipe.architecture import Architecture

TOKENIZER_BYTES = 5_000_000
"""Vocabulary and merges, whatever they are stored in; large vocabularies take more."""


def gguf_bytes(architecture: Architecture, kind: str) -> int:
    """Size of a GGUF file: matrices in `kind`, norms and routers in float32, the tokenizer beside them."""
    total = TOKENIZER_BYTES
    for group in weight_groups(architecture):
        plain = group.role in ("norm", "router")
        # q8_0 holds 32 weights in 34 bytes and wants whole blocks; other widths fall back to f16
        eighths = 34 / 32 if group.columns % 32 == 0 else 2
        bytes_per_weight = 4 if plain else {"f32": 4, "f16": 2, "bf16": 2, "q8_0": eighths}[kind]
        total += round(group.num_parameters * bytes_per_weight)
    return total
