"""From a GGUF file to a Hugging Face checkpoint directory, a piece of a tensor at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from moyai.checkpoint.config import write_config
from moyai.checkpoint.dtypes import from_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.writer import write_checkpoint
from moyai.errors import InputFileError
from moyai.gguf.architecture import architecture_of
from moyai.gguf.header import GgufHeader, GgufTensor, read_header
from moyai.gguf.rotary_order import unpermuted
from moyai.gguf.tensors import TensorPair, tensor_pairs
from moyai.gguf.tokenizer_files import write_tokenizer_files
from moyai.gguf.vocabulary import Vocabulary, read_vocabulary
from moyai.progress import Progress
from moyai.recipe.architecture import Architecture

# A piece is about this many numbers: a few megabytes as float32.
PIECE_ELEMENTS = 1 << 20
_SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True)
class GgufSummary:
    """What a GGUF file holds."""

    architecture: Architecture
    quantisation: Mapping[str, int]
    """Quantisation -> how many tensors have it."""
    num_parameters: int
    metadata: Mapping[str, str]
    """The `general.*` texts: name, license, organization, ..."""


def gguf_to_checkpoint(
    path: Path, out_dir: Path, *, dtype: Literal["F32", "F16", "BF16"] = "F32", progress: Progress
) -> GgufSummary:
    """Write the model of a GGUF file as a checkpoint directory that transformers 4 and 5 load.

    Everything that the file says of itself is checked before the first byte is written.

    Args:
        path: the GGUF file, of an architecture and with a vocabulary that moyai knows.
        out_dir: where the checkpoint goes.
        dtype: how weights are stored; F32 is what the quantised weights stand for, exactly.
        progress: where to tell how far it is.

    Raises:
        InputFileError: the file is damaged, or of a kind that is not yet known.
        DiskSpaceError: the disk cannot hold the checkpoint.
    """
    header = read_header(path)
    summary = summary_of(header)
    architecture, vocabulary = summary.architecture, read_vocabulary(header)
    if len(vocabulary.tokens) != architecture.vocab_size:
        raise InputFileError(
            f"{path} has {len(vocabulary.tokens)} tokens,"
            f" but {architecture.vocab_size} rows in token_embd.weight"
        )
    planned = [
        tensor for pair in _checked_pairs(header, architecture) for tensor in _planned(header, pair, dtype)
    ]
    out_dir.mkdir(parents=True, exist_ok=True)
    write_checkpoint(out_dir, planned, shard_bytes=_SHARD_BYTES, progress=progress)
    write_tokenizer_files(vocabulary, out_dir, max_tokens=architecture.max_position_embeddings)
    write_config(out_dir, architecture, dtype=dtype, like=_token_ids(vocabulary))
    return summary


def summary_of(header: GgufHeader) -> GgufSummary:
    """What a GGUF file holds, from its header alone.

    Raises:
        InputFileError: it is not a model of an architecture that moyai knows.
    """
    return GgufSummary(
        architecture=architecture_of(header),
        quantisation=MappingProxyType(Counter(tensor.type.name for tensor in header.tensors.values())),
        num_parameters=sum(tensor.num_elements for tensor in header.tensors.values()),
        metadata=MappingProxyType(
            {
                key.removeprefix("general."): value
                for key, value in header.metadata.items()
                if key.startswith("general.") and isinstance(value, str)
            }
        ),
    )


def _checked_pairs(header: GgufHeader, architecture: Architecture) -> list[TensorPair]:
    """The pairs of all tensors, once it is sure that the file has them, of the right shape, and no others."""
    _check_counts(header, architecture)
    pairs = tensor_pairs(architecture)
    expected = {pair.gguf_name for pair in pairs}
    found = {name: tensor.shape for name, tensor in header.tensors.items()}
    missing, unknown = sorted(expected - found.keys()), sorted(found.keys() - expected)
    if missing or unknown:
        what = f"lacks {_some(missing)}" if missing else f"has {_some(unknown)}, not yet known"
        raise InputFileError(f"{header.path} {what}", hint="is it a plain language model of this architecture?")
    for pair in pairs:
        shape = found[pair.gguf_name]
        if shape not in (pair.gguf_shape, pair.shape if pair.is_row else None):
            raise InputFileError(
                f"{header.path}: {pair.gguf_name!r} has shape {shape}, the metadata ask for {pair.gguf_shape}"
            )
    for kind in {tensor.type for tensor in header.tensors.values()}:
        try:
            dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
        except NotImplementedError:
            raise InputFileError(
                f"{header.path} has tensors in the quantisation {kind.name}, not yet known"
            ) from None
    return pairs


def _check_counts(header: GgufHeader, architecture: Architecture) -> None:
    """Refuse layers and experts that the file cannot have, before a list of as many names is made."""
    router = header.tensors.get("blk.0.ffn_gate_inp.weight")
    num_experts = router.shape[0] if router is not None else 1
    if architecture.num_hidden_layers > len(header.tensors) or architecture.num_experts != num_experts:
        raise InputFileError(
            f"{header.path} says {architecture.num_hidden_layers} layers and {architecture.num_experts} experts,"
            f" but holds {len(header.tensors)} tensors and a router of {num_experts} rows"
        )


def _some(names: list[str]) -> str:
    return f"the tensor {names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _planned(header: GgufHeader, pair: TensorPair, dtype: str) -> Iterator[PlannedTensor]:
    tensor = header.tensors[pair.gguf_name]
    source = TensorInfo(tensor.name, "U8", (tensor.num_bytes,), header.path, tensor.start, tensor.num_bytes)
    for index, name in enumerate(pair.checkpoint_names):
        yield PlannedTensor(
            name=name,
            dtype=dtype,
            shape=pair.shape,
            origin=f"part {index} of {tensor.type.name}, heads of {pair.head_dim}",
            content=_content(header.path, tensor, pair, index, dtype),
            sources=(source,),
        )


def _content(
    path: Path, tensor: GgufTensor, pair: TensorPair, index: int, dtype: str
) -> Callable[[], Iterator[NDArray[Any]]]:
    def pieces() -> Iterator[NDArray[Any]]:
        for rows_RC in float32_pieces(
            path, tensor, index * _num_rows(pair), _num_rows(pair), pair.head_dim or 1
        ):
            ordered_RC = unpermuted(rows_RC, pair.head_dim) if pair.head_dim else rows_RC
            yield from_float32(ordered_RC, dtype)

    return pieces


def _num_rows(pair: TensorPair) -> int:
    return pair.shape[0] if len(pair.shape) > 1 else 1


def float32_pieces(
    path: Path, tensor: GgufTensor, first_row: int, num_rows: int, multiple: int = 1
) -> Iterator[NDArray[np.float32]]:
    """Rows of a tensor as float32, in order, a few megabytes each; each piece a multiple of `multiple` rows.

    A row is `tensor.shape[-1]` numbers; the leading dimensions are flattened.

    Raises:
        InputFileError: the file has become shorter since its header was read.
    """
    num_columns, row_bytes = tensor.shape[-1], tensor.row_bytes
    step = max(1, PIECE_ELEMENTS // (num_columns * multiple)) * multiple
    with path.open("rb") as file:
        file.seek(tensor.start + first_row * row_bytes)
        for start in range(0, num_rows, step):
            count = min(step, num_rows - start)
            stored = file.read(count * row_bytes)
            if len(stored) != count * row_bytes:
                raise InputFileError(
                    f"{path} ends within tensor {tensor.name!r}", hint="was it changed meanwhile?"
                )
            rows = np.frombuffer(stored, np.uint8).reshape(count, row_bytes)
            yield _float32(rows, tensor.type).reshape(count, num_columns)


def _float32(rows: NDArray[np.uint8], kind: GGMLQuantizationType) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):  # a damaged scale gives infinities, which are for the model's reader to judge
        values: NDArray[np.float32] = dequantize(rows, kind)
    return values


def _token_ids(vocabulary: Vocabulary) -> dict[str, Any]:
    ids = vocabulary.special_ids
    return {f"{role}_token_id": ids[role] for role in ("bos", "eos", "pad") if role in ids}
