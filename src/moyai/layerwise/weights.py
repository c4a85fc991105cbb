"""The weights of one decoder layer, read from the files into the parameters that transformers has for them.

On disk each expert's matrices are tensors of their own; transformers 5 stacks them, gate above up:

    mlp.experts.gate_up_proj    [E, 2F, H]
    mlp.experts.down_proj       [E, H, F]

Letters: E experts, F intermediate channels, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from moyai.checkpoint.dtypes import to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import expert_name, router_name
from moyai.checkpoint.reader import CheckpointReader, row_pieces
from moyai.recipe.architecture import Architecture


def read_layer(
    reader: CheckpointReader,
    architecture: Architecture,
    layer: int,
    shapes: Mapping[str, torch.Size],
    dtype: torch.dtype,
) -> dict[str, torch.Tensor]:
    """The parameters of a layer by their name in transformers' module, in `dtype`.

    Args:
        reader: the checkpoint, known to be complete.
        architecture: its dimensions.
        layer: number of the layer.
        shapes: shape of each parameter by name; all are filled.
        dtype: of the values; float32 is exact for whatever is stored.
    """
    weights = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    for name, weight in weights.items():
        for stored, part in _parts(architecture, layer, name, weight):
            read_tensor(reader.tensors[stored], part)
    return weights


def read_tensor(info: TensorInfo, out: torch.Tensor) -> None:
    """Fill `out`, contiguous and of the tensor's shape, with its values, read in pieces of a few megabytes.

    Raises:
        InputFileError: it is not stored as F32, F16 or BF16, or the file has become shorter.
    """
    assert out.shape == info.shape, (info.name, out.shape, info.shape)
    rows = out.view(len(out), -1)
    for start, piece in row_pieces(info):
        rows[start : start + len(piece)] = torch.from_numpy(to_float32(piece, info.dtype))


def _parts(a: Architecture, layer: int, name: str, weight: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Name of each stored tensor that belongs into a parameter, and the part of it which it fills."""
    if name == "mlp.experts.gate_up_proj":
        for expert, gate_up_FH in enumerate(weight):
            gate_FH, up_FH = gate_up_FH.chunk(2)
            yield expert_name(a.family, layer, expert, "gate"), gate_FH
            yield expert_name(a.family, layer, expert, "up"), up_FH
    elif name == "mlp.experts.down_proj":
        for expert, down_HF in enumerate(weight):
            yield expert_name(a.family, layer, expert, "down"), down_HF
    elif a.is_moe and name == "mlp.gate.weight":
        yield router_name(a.family, layer), weight
    else:
        yield f"model.layers.{layer}.{name}", weight
