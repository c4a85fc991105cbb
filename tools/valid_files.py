"""Small valid weight files of every kind that moyai reads: the seeds of the fuzzer."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_TENSORS = {
    "model.embed_tokens.weight": np.arange(48, dtype=np.float32).reshape(6, 8),
    "a": np.arange(10, dtype=np.float16).reshape(5, 2),
    "b": np.arange(7, dtype=np.int64),
    "埋め込み": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(2.5),
}
_CONFIG = b'{"model_type": "llama", "tie_word_embeddings": true}'


def write_valid(kind: str, directory: Path, rng: random.Random) -> Path:
    """Write valid files of `kind` into an empty directory; returns the one that says what the others are."""
    return _WRITERS[kind](directory, rng)


def packed_anew(content: bytes, change: Callable[[str, bytes], bytes | None], method: int = 0) -> bytes:
    """A zip archive whose files went through `change`, with sums and lengths that are right again."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w", method) as new:
        for entry in old.infolist():
            data = change(entry.filename, old.read(entry))
            if data is not None:
                new.writestr(zipfile.ZipInfo(entry.filename), data, method)
    return packed.getvalue()


def _safetensors(directory: Path, rng: random.Random) -> Path:
    from safetensors.numpy import save_file

    names = rng.sample(sorted(_TENSORS), rng.randint(1, len(_TENSORS)))
    metadata = {"format": "pt", "note": "{}[],:"} if rng.random() < 0.5 else None
    save_file({name: _TENSORS[name] for name in names}, directory / "model.safetensors", metadata)
    return directory / "model.safetensors"


def _index(directory: Path, rng: random.Random) -> Path:
    from safetensors.numpy import save_file

    weight_map = {}
    for number, names in enumerate((["a", "b"], ["empty", "scalar", "埋め込み"]), 1):
        shard = f"model-{number:05}-of-00002.safetensors"
        save_file({name: _TENSORS[name] for name in names}, directory / shard)
        weight_map |= dict.fromkeys(names, shard)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 116}, "weight_map": weight_map}, indent=1))
    return index


def _torch(directory: Path, rng: random.Random) -> Path:
    import torch

    state: dict[str, Any] = {name: torch.from_numpy(value) for name, value in _TENSORS.items()}
    state["bfloat16"] = torch.arange(6.0).to(torch.bfloat16)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    state["parameter"] = torch.nn.Parameter(torch.ones(3))
    state["view"] = torch.arange(20.0)[4:8]
    state["uint16"] = torch.ones(3, dtype=torch.uint16)
    path = directory / "pytorch_model.bin"
    torch.save(state, path)
    if rng.random() < 0.3:  # as older releases wrote it
        path.write_bytes(packed_anew(path.read_bytes(), lambda name, data: None if "/." in name else data))
    (directory / "config.json").write_bytes(_CONFIG)
    return path


def _gguf(directory: Path, rng: random.Random) -> Path:
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    path = directory / "model.gguf"
    writer = GGUFWriter(path, "llama")
    for size in (8, 16, 32, 64):
        getattr(writer, f"add_uint{size}")(f"u{size}", size)
        getattr(writer, f"add_int{size}")(f"i{size}", -size)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.25)
    writer.add_bool("flag", True)
    writer.add_string("text", "もやい")
    writer.add_array("texts", ["a", "", "舫い"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("reals", [0.5, 1.5])
    writer.add_array("flags", [True, False])
    if rng.random() < 0.3:
        writer.add_custom_alignment(64)
    writer.add_tensor("f32", np.ones((3, 4), np.float32))
    writer.add_tensor("f16", np.ones((2, 2, 4), np.float16))
    q8 = quantize(np.ones((2, 64), np.float32), GGMLQuantizationType.Q8_0)
    writer.add_tensor("q8_0", q8, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_WRITERS = {"safetensors": _safetensors, "index": _index, "gguf": _gguf, "torch": _torch}
