"""Preparing a corpus on many machines that share a disk: the work of a `prepare` stage as datatrove tasks.

    from datatrove.executor import SlurmPipelineExecutor
    from moyai.run.cluster import CleanFiles, FindDuplicates, PackParts, open_preparation

    work = open_preparation("recipe.yaml", "runs/big")   # after: moyai run recipe.yaml --out runs/big --until extend
    clean = SlurmPipelineExecutor([CleanFiles(work)], tasks=1000, time="04:00:00", partition="cpu", ...)

The executors are datatrove's: on this machine, Slurm or Ray.  They only spread the jobs of the three phases, each of
which is one task's or another's; `moyai run` afterwards finds everything done and puts the corpus together, so the
result is the one that a single machine would have made, byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moyai.corpus.extras import need
from moyai.corpus.packing.clean import clean_file
from moyai.corpus.packing.parts import pack_part
from moyai.corpus.packing.preparation import Preparation
from moyai.errors import RecipeError
from moyai.progress import SilentProgress
from moyai.recipe.cache_dir import default_cache_dir
from moyai.recipe.corpus_settings import PrepareSettings
from moyai.recipe.load import load_recipe
from moyai.run.runner import open_step
from moyai.stages.prepare import preparation_in

_datatrove = need("datatrove.pipeline.base", "Tasks on many machines", extra="cluster")


def open_preparation(
    recipe: str, out_dir: str | Path, *, stage: str = "prepare", cache_dir: str | Path | None = None
) -> Preparation:
    """The unfinished work of a `prepare` stage in a run directory, made ready where it is not begun.

    Args:
        recipe: a recipe's file or name, as `moyai run` takes it.
        out_dir: the run directory, on a disk that all machines see.
        stage: the stage's name.
        cache_dir: where downloads are kept; default as for the program.

    Raises:
        RecipeError: the stage is not one that prepares text, one before it is not done, it is done itself, or work of
            other settings is there.
        BusyError: a run holds the directory.
    """
    loaded = load_recipe(recipe)
    step, context = open_step(
        loaded,
        stage,
        out_dir=Path(out_dir).absolute(),
        cache_dir=Path(cache_dir) if cache_dir else default_cache_dir(),
        progress=SilentProgress(),
    )
    if not isinstance(step.settings, PrepareSettings):
        raise RecipeError(f"stage {stage} of {recipe} is of the kind {step.kind}; only prepare is spread over machines")
    tokenizer_dir = next(iter(context.inputs.values()))
    return preparation_in(step.settings, context.resume_dir, tokenizer_dir=tokenizer_dir)


class _Phase(_datatrove.PipelineStep):  # type: ignore[name-defined, misc]
    """The jobs of one phase, dealt out to the tasks in turn."""

    type = "moyai"

    def __init__(self, work: Preparation) -> None:
        super().__init__()
        self.work = work


class CleanFiles(_Phase):
    """The first phase; up to as many tasks as there are input files."""

    name = "clean files"

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Clean every `world_size`-th file."""
        for job in self.work.clean_jobs()[rank::world_size]:
            counts = clean_file(job)
            self.stat_update("read", value=counts.read)
            self.stat_update("kept", value=counts.kept)
            for reason, documents in counts.dropped.items():
                self.stat_update(f"dropped_{reason}", value=documents)


class FindDuplicates(_Phase):
    """The second phase; one task."""

    name = "find duplicates"

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Compare all files, in the first of the tasks."""
        if rank == 0:
            self.work.find_duplicates(SilentProgress())


class PackParts(_Phase):
    """The third phase; up to as many tasks as there are parts, which are about `shard_bytes` of text."""

    name = "pack parts"

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Pack every `world_size`-th part."""
        for job in self.work.pack_jobs()[rank::world_size]:
            counts = pack_part(job)
            self.stat_update("documents", value=counts.documents)
            self.stat_update("tokens", value=counts.tokens)
