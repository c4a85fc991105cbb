"""The type that each tensor of a GGUF is stored in, as llama.cpp chooses it, and the bytes it takes.

Source: `src/llama-quant.cpp` of llama.cpp (`llama_tensor_get_type_impl`, `tensor_type_fallback`,
`tensor_allows_quantization`), `src/models/{llama,qwen2}.cpp` (`load_arch_hparams`: which model counts as 70B)
and `prepare_tensors` in its `conversion/base.py`, as vendored by llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moyai.gguf.tensors import TensorPair, tensor_pairs
from moyai.recipe.architecture import Architecture

GgufType = Literal["f32", "f16", "bf16", "q8_0", "q4_k_m"]
"""How a file stores its matrices; q4_k_m is a mixture of types."""

TensorType = Literal["F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]

BLOCKS: dict[TensorType, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
}
"""Type -> numbers in a block, bytes of a block; a row is a whole number of blocks."""

ALIGNMENT = 32
"""Every tensor begins at a multiple of so many bytes."""

# Where rows are no whole number of 256: the type with blocks of 32 next in size.
_SMALLER_BLOCKS: dict[TensorType, TensorType] = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_ONE_TYPE: dict[GgufType, TensorType] = {"f32": "F32", "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a GGUF and the type that it is stored in."""

    pair: TensorPair
    type: TensorType
    is_fallback: bool
    """Whether its rows are no whole number of blocks of the type that it should have had."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensor, without what pads it."""
        block, block_bytes = BLOCKS[self.type]
        return math.prod(self.pair.gguf_shape) // block * block_bytes

    @property
    def padding_bytes(self) -> int:
        """Bytes between its end and the next tensor."""
        return -self.num_bytes % ALIGNMENT


def stored_tensors(architecture: Architecture, kind: GgufType) -> list[StoredTensor]:
    """Every tensor of a model with its type, in the order of the file.

    Vectors and routers stay float32.  A matrix whose rows are no whole number of blocks takes the next larger
    type with blocks of 32, or F16 where that does not fit either.  llama.cpp does the same, but does not count
    the output head among its `fallback` tensors.
    """
    return [_stored(pair, architecture, kind) for pair in tensor_pairs(architecture)]


def tensor_data_bytes(tensors: Sequence[StoredTensor]) -> int:
    """Bytes from the first tensor to the end of the file.

    >>> from moyai.recipe.architecture import Architecture
    >>> smollm2 = Architecture(
    ...     family="llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
    ...     num_attention_heads=9, num_key_value_heads=3, head_dim=64, tie_word_embeddings=True)
    >>> tensor_data_bytes(stored_tensors(smollm2, "q8_0"))
    143025408
    """
    return sum(tensor.num_bytes + tensor.padding_bytes for tensor in tensors)


def _stored(pair: TensorPair, architecture: Architecture, kind: GgufType) -> StoredTensor:
    if math.prod(pair.gguf_shape[:-1]) == 1 or "ffn_gate_inp" in pair.gguf_name:
        return StoredTensor(pair, "F32", is_fallback=False)
    wanted = _type_in_q4_k_m(pair.gguf_name, architecture) if kind == "q4_k_m" else _ONE_TYPE[kind]
    fitting = wanted
    if not _fits(pair, fitting):
        fitting = _SMALLER_BLOCKS.get(wanted, "F16")
    if not _fits(pair, fitting):
        fitting = "F16"
    return StoredTensor(pair, fitting, is_fallback=fitting != wanted)


def _fits(pair: TensorPair, type: TensorType) -> bool:
    return pair.gguf_shape[-1] % BLOCKS[type][0] == 0


def _type_in_q4_k_m(name: str, architecture: Architecture) -> TensorType:
    """The type of a matrix in a mixture Q4_K_M, whatever the length of its rows."""
    if name == "output.weight" or (name == "token_embd.weight" and architecture.tie_word_embeddings):
        return "Q6_K"
    if name == "token_embd.weight":
        return "Q4_K"
    _, layer, part, _ = name.split(".")
    if architecture.num_experts == 8 and part in ("attn_k", "attn_v", "attn_output"):
        return "Q5_K" if part == "attn_output" else "Q8_0"
    is_sensitive = part == "attn_v" or part.startswith("ffn_down")
    if is_sensitive and _gets_more_bits(int(layer), architecture.num_hidden_layers):
        return "Q6_K"
    return "Q5_K" if part == "attn_v" and _counts_as_70b(architecture) else "Q4_K"


def _gets_more_bits(layer: int, num_layers: int) -> bool:
    """Whether a layer is in the first or the last eighth, or every third between."""
    eighth = num_layers // 8
    return layer < eighth or layer >= 7 * num_layers // 8 or (layer - eighth) % 3 == 2


def _counts_as_70b(architecture: Architecture) -> bool:
    grouped = architecture.num_key_value_heads != architecture.num_attention_heads
    is_llama = architecture.family in ("llama", "mistral", "mixtral") and grouped
    return architecture.num_hidden_layers == 80 and (is_llama or architecture.family == "qwen2")
