"""safetensors files byte by byte, for those that no library would write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def entry(start: int, end: int, *, shape: Any = None, dtype: Any = "F32") -> dict[str, Any]:
    """What a header says of a tensor; a shape of float32 that fits, unless another is given."""
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


def write_raw(path: Path, header: bytes | dict[str, Any], data: bytes = b"", *, length: int | None = None) -> None:
    """Write length, header and data, whether they fit or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
