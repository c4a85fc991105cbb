"""Models that a stage reads besides its inputs: hub ids, directories, GGUF files, wheels, and `stage:NAME`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moyai.checkpoint.config import CONFIG_NAME
from moyai.checkpoint.sources import resolve_model, source_sha256
from moyai.recipe.composition import STAGE_PREFIX
from moyai.recipe.sources import parse_model
from moyai.stages.contract import StageContext


def model_hashes(models: Sequence[str], cache_dir: Path) -> dict[str, str]:
    """Content hash of each model that does not come from the run, by its source string."""
    outside = [model for model in models if not model.startswith(STAGE_PREFIX)]
    return {model: source_sha256(parse_model(model), cache_dir) for model in outside}


def model_label(model: str) -> str:
    """A model as the provenance calls it: of a path the last part, since directories of a machine tell nobody anything.

    >>> model_label("/home/me/models/tuned"), model_label("owner/name@main")
    ('tuned', 'owner/name@main')
    """
    return Path(model).name if model.startswith(("/", ".", "~")) else model


def model_directories(models: Sequence[str], context: StageContext) -> dict[str, Path]:
    """The checkpoint directory of each model, by its source string.

    A directory is read where it lies; a GGUF file is converted into the stage's scratch.

    Raises:
        SourceError: a model cannot be had.
        InputFileError: a GGUF file is not a whole model.
    """
    return {model: _directory(model, number, context) for number, model in enumerate(dict.fromkeys(models))}


def _directory(model: str, number: int, context: StageContext) -> Path:
    if model.startswith(STAGE_PREFIX):
        return context.inputs[model.removeprefix(STAGE_PREFIX)]
    path = resolve_model(parse_model(model), context.cache_dir, context.progress)
    if path.suffix != ".gguf":
        return path

    from moyai.gguf.read import gguf_to_checkpoint

    converted = context.resume_dir / f"model-{number}"
    if not (converted / CONFIG_NAME).is_file():  # it is written last
        converted.mkdir(parents=True, exist_ok=True)
        gguf_to_checkpoint(path, converted, progress=context.progress)
    return converted
