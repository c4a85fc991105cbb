"""The plan of a recipe: what every stage will make, take and cost, before anything is fetched or written."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from moyai.errors import RecipeError
from moyai.plan.corpus_size import BASE_RATES, EXTENDED_RATES, LARGE_VOCABULARY, LARGE_VOCABULARY_RATES, TRAINED_RATES
from moyai.plan.machine import CPU_BFLOAT16, MACHINES, Machine
from moyai.plan.parameters import count_parameters
from moyai.plan.quantities import format_bytes, format_flops
from moyai.plan.source_use import SourceUse
from moyai.plan.stage_estimate import BFLOAT16_BYTES, FLOAT32_BYTES, Estimate, Model, estimate_stage
from moyai.recipe.architecture import Architecture, read_architecture
from moyai.recipe.recipe import Recipe, Step
from moyai.recipe.sources import GgufModel, LocalModel, WheelModel, parse_model

_LEARNT_CHARACTERS_PER_SECOND = 300_000
_PREPARED_CHARACTERS_PER_SECOND = 600_000
_MANY_EPOCHS = 4
"""Muennighoff et al. 2023 (2305.16264): up to four passes over a text are nearly as good as new text."""


@dataclass(frozen=True)
class PlannedStage:
    """One row of a plan."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    makes_checkpoint: bool
    total_parameters: int
    active_parameters: int
    vocab_size: int
    num_experts: int
    tokens: int | None
    """None where the texts are not on this machine."""
    steps: int | None
    flops: int
    written_bytes: int
    in_flight_bytes: int
    memory_bytes: int
    seconds: float
    """On the assumed machine."""
    sources: tuple[SourceUse, ...]


@dataclass(frozen=True)
class Totals:
    """The whole recipe."""

    flops: int
    disk_bytes: int
    """All artifacts, and the largest of what is on disk only while a stage runs."""
    memory_bytes: int
    """The largest of the stages' peaks."""
    seconds: float
    seconds_on: dict[str, float]
    """The same work on every machine of the table, by its name."""


@dataclass(frozen=True)
class Plan:
    """What `moyai plan` prints."""

    recipe: str
    base: str
    machine: str
    stages: tuple[PlannedStage, ...]
    totals: Totals
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def plan_recipe(recipe: Recipe, *, machine: Machine = CPU_BFLOAT16, memory_bytes: int | None = None) -> Plan:
    """Estimate every stage of `recipe`.

    Args:
        recipe: a checked recipe.
        machine: on which the times of the stages are given; the totals name all machines.
        memory_bytes: memory of the computer at hand; a stage that takes more becomes a warning.

    Raises:
        RecipeError: the base's dimensions are not known, or a stage cannot be done with its model.
        InputFileError: the local base has no readable config.json.
    """
    estimates = _estimates(recipe)
    stages = tuple(_stage(step, estimates[step.name], machine) for step in recipe.steps())
    everything = estimates.values()
    totals = Totals(
        flops=sum(stage.flops for stage in stages),
        disk_bytes=sum(each.written_bytes for each in stages) + max(each.in_flight_bytes for each in stages),
        memory_bytes=max(stage.memory_bytes for stage in stages),
        seconds=sum(stage.seconds for stage in stages),
        seconds_on={each.name: sum(seconds(estimate, each) for estimate in everything) for each in MACHINES},
    )
    warnings = [warning for estimate in everything for warning in estimate.warnings]
    warnings += _warnings(recipe, stages, memory_bytes)
    return Plan(
        recipe=recipe.name,
        base=recipe.base or "drawn weights",
        machine=machine.name,
        stages=stages,
        totals=totals,
        assumptions=_assumptions(machine),
        warnings=tuple(warnings),
    )


def seconds(estimate: Estimate, machine: Machine) -> float:
    """How long a stage is expected to take on `machine`."""
    arithmetic = estimate.flops / machine.flops_per_second(estimate.precision)
    moving = (estimate.read_bytes + estimate.written_bytes) / machine.bytes_per_second
    learning = estimate.learnt_characters / _LEARNT_CHARACTERS_PER_SECOND
    return arithmetic + moving + learning + estimate.prepared_characters / _PREPARED_CHARACTERS_PER_SECOND


def physical_memory_bytes() -> int | None:
    """Memory of this computer, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def base_architecture(recipe: Recipe) -> Architecture:
    """The dimensions of the recipe's base: as the recipe says, or from the checkpoint on this machine.

    Raises:
        RecipeError: neither is there.
        InputFileError: the local checkpoint has no readable config.json.
    """
    if recipe.architecture is not None:
        return recipe.architecture
    source = parse_model(recipe.base)
    if isinstance(source, LocalModel):
        return read_architecture(source.path)
    raise RecipeError(
        f"{recipe.name}: the dimensions of {recipe.base} are not known: the recipe has no architecture: "
        "and there is no config.json on this machine to read them from",
        hint=f"add an architecture: block, or `moyai fetch {recipe.base} DIR` and set base: DIR",
    )


def _base_weight_bytes(recipe: Recipe) -> int:
    """A GGUF file is written out as float32, which holds its quantised weights exactly; drawn weights are float32 too."""
    if not recipe.base:
        return FLOAT32_BYTES
    source = parse_model(recipe.base)
    return FLOAT32_BYTES if isinstance(source, GgufModel | WheelModel) else BFLOAT16_BYTES


def _estimates(recipe: Recipe) -> dict[str, Estimate]:
    base = Model(base_architecture(recipe), weight_bytes=_base_weight_bytes(recipe))
    estimates: dict[str, Estimate] = {}
    for step in recipe.steps():
        inputs = {name: estimates[name].model for name in step.inputs} or {"base": base}
        estimates[step.name] = estimate_stage(step, inputs)
    return estimates


def _stage(step: Step, estimate: Estimate, machine: Machine) -> PlannedStage:
    architecture = estimate.model.architecture
    count = count_parameters(architecture)
    return PlannedStage(
        name=step.name,
        kind=step.kind,
        inputs=step.inputs,
        makes_checkpoint=step.settings.produces == "checkpoint",
        total_parameters=count.total,
        active_parameters=count.active,
        vocab_size=architecture.vocab_size,
        num_experts=architecture.num_experts,
        tokens=estimate.tokens,
        steps=estimate.steps,
        flops=estimate.flops,
        written_bytes=estimate.written_bytes,
        in_flight_bytes=estimate.in_flight_bytes,
        memory_bytes=estimate.memory_bytes,
        seconds=seconds(estimate, machine),
        sources=estimate.sources,
    )


def _warnings(recipe: Recipe, stages: tuple[PlannedStage, ...], memory_bytes: int | None) -> list[str]:
    warnings = [
        f"{stage.name} goes {use.epochs:.1f} times through {use.source} (about {use.source_tokens:,} tokens)"
        for stage in stages
        for use in stage.sources
        if use.epochs is not None and use.epochs > _MANY_EPOCHS
    ]
    if memory_bytes is not None:
        warnings += [
            f"{stage.name} needs about {format_bytes(stage.memory_bytes)} of memory; "
            f"this machine has {format_bytes(memory_bytes)}"
            for stage in stages
            if stage.memory_bytes > memory_bytes
        ]
    return warnings + _untrained_rows(recipe)


def _untrained_rows(recipe: Recipe) -> list[str]:
    """New pieces that no later stage trains make a model worse, not better."""
    steps = recipe.steps()
    training = [step.name for step in steps if step.kind in ("pretrain", "sft")]
    taught = {ancestor for name in training for ancestor in _ancestors(name, steps)}
    return [
        f"{step.name} adds vocabulary pieces that no later stage trains"
        for step in steps
        if step.kind == "extend" and step.name not in taught
    ]


def _ancestors(name: str, steps: tuple[Step, ...]) -> set[str]:
    by_name = {step.name: step for step in steps}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        parents = by_name[waiting.pop()].inputs
        waiting += [parent for parent in parents if parent not in found]
        found.update(parents)
    return found


def _assumptions(machine: Machine) -> tuple[str, ...]:
    rates = (BASE_RATES, EXTENDED_RATES, LARGE_VOCABULARY_RATES, TRAINED_RATES)
    base, extended, large, trained = (f"{each.japanese} Japanese or {each.other} other" for each in rates)
    rate = machine.flops_per_second("auto")
    return (
        f"times: {machine.name}, {format_flops(rate)} operations and "
        f"{format_bytes(machine.bytes_per_second)} of weights a second",
        f"characters per token: {base}; after extend {extended}; "
        f"from {LARGE_VOCABULARY:,} pieces in the base on {large}; after train_tokenizer {trained}",
        f"new pieces are learnt from {_LEARNT_CHARACTERS_PER_SECOND:,} characters a second, whole vocabularies from half; "
        f"{_PREPARED_CHARACTERS_PER_SECOND:,} are prepared",
        "the base's vocabulary has no unused rows",
        "checkpoints are bfloat16; float32 after training and where the base is a GGUF file",
        "training holds float32 weights, gradients and optimiser state, and one row's activations",
        "downloading the base and starting the program are not counted",
    )
