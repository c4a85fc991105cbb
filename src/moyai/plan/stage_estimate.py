"""One estimate a stage kind: parameters after it, operations, tokens, bytes on disk and in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from moyai.errors import InputFileError, RecipeError
from moyai.plan.corpus_size import (
    BASE_RATES,
    EXTENDED_RATES,
    LARGE_VOCABULARY,
    LARGE_VOCABULARY_RATES,
    TRAINED_RATES,
    CorpusSize,
    TokenRates,
    measure_corpus,
)
from moyai.plan.gguf_size import TOKENIZER_BYTES, gguf_bytes
from moyai.plan.machine import Precision
from moyai.plan.parameters import count_multiplied, count_parameters
from moyai.plan.prepared_size import stored_token_bytes
from moyai.plan.source_use import SourceUse, sources_mixed, sources_prepared, sources_used
from moyai.plan.training_cost import (
    PROCESS_BYTES,
    layer_bytes,
    loaded_bytes,
    resume_bytes,
    scoring_flops,
    training_flops,
    training_memory,
)
from moyai.plan.unigram_cost import check_vocab_size, unigram_cost
from moyai.recipe.architecture import Architecture, mixture_of
from moyai.recipe.corpus_settings import PrepareSettings
from moyai.recipe.recipe import Step
from moyai.recipe.settings import (
    ChatVectorSettings,
    ComposeSettings,
    EvaluateSettings,
    ExportSettings,
    PretrainSettings,
    SftSettings,
    TrainingSettings,
    UpcycleSettings,
    VerifySettings,
)
from moyai.recipe.stage_settings import StageSettings
from moyai.recipe.tokenizer_settings import ExtendSettings, TrainTokenizerSettings

_Settings = TypeVar("_Settings", bound=StageSettings)

STREAMING_BYTES = 500_000_000
"""Memory of work that goes tensor by tensor: little but the process."""
BFLOAT16_BYTES, FLOAT32_BYTES = 2, 4
_STORED_BYTES = {"float32": FLOAT32_BYTES, "float16": 2, "bfloat16": BFLOAT16_BYTES}


@dataclass(frozen=True)
class Model:
    """What planning knows of a checkpoint."""

    architecture: Architecture
    new_rows: int = 0
    """Rows of the embedding that `extend` has added."""
    extended: bool = False
    drawn: bool = False
    """Its vocabulary was trained from nothing, and its first weights were drawn."""
    weight_bytes: int = BFLOAT16_BYTES
    """Of one weight in the checkpoint directory."""
    packed: tuple[SourceUse, ...] = ()
    """The sources of a corpus that was packed with its tokenizer."""

    @property
    def rates(self) -> TokenRates:
        """Assumed characters per token of its tokenizer."""
        if self.drawn:
            return TRAINED_RATES
        if self.extended:
            return EXTENDED_RATES
        return LARGE_VOCABULARY_RATES if self.architecture.vocab_size >= LARGE_VOCABULARY else BASE_RATES

    @property
    def stored_bytes(self) -> int:
        """Size of its checkpoint directory."""
        return self.weight_bytes * count_parameters(self.architecture).total + TOKENIZER_BYTES


@dataclass(frozen=True)
class Estimate:
    """What a stage will take and leave."""

    model: Model
    """The checkpoint after the stage; for a stage that makes none, the one it reads."""
    flops: int = 0
    tokens: int | None = 0
    """None where the texts are not on this machine."""
    steps: int | None = 0
    read_bytes: int = 0
    written_bytes: int = 0
    in_flight_bytes: int = 0
    """On disk only while the stage runs: checkpoints to resume from."""
    memory_bytes: int = PROCESS_BYTES
    learnt_characters: int = 0
    """Text in which new vocabulary pieces are looked for."""
    prepared_characters: int = 0
    """Text that is cleaned and packed."""
    precision: Precision = "float32"
    sources: tuple[SourceUse, ...] = ()
    warnings: tuple[str, ...] = ()


Inputs = Mapping[str, Model]


def estimate_stage(step: Step, inputs: Inputs) -> Estimate:
    """The estimate of one stage; `inputs` are the checkpoints it reads, by stage name, in the step's order.

    Raises:
        RecipeError: the stage cannot be done with such a model.
    """
    return _ESTIMATES[step.kind](step, inputs)


def _init(step: Step, inputs: Inputs) -> Estimate:
    (model,) = inputs.values()
    return Estimate(model, written_bytes=model.stored_bytes, memory_bytes=STREAMING_BYTES)


def _train_tokenizer(step: Step, inputs: Inputs) -> Estimate:
    settings, (model,) = _typed(step, TrainTokenizerSettings), inputs.values()
    warnings = check_vocab_size(step.name, settings, model.architecture.vocab_size)
    trained = replace(model, drawn=True)
    corpora = dict.fromkeys((name for stage in settings.stages for name in stage.corpus), 1.0)
    sources, missing = sources_used(step.name, corpora, "train documents", trained.rates)
    memory_bytes, characters = unigram_cost(settings, sources)
    return Estimate(
        trained,
        written_bytes=TOKENIZER_BYTES,
        memory_bytes=PROCESS_BYTES + memory_bytes,
        learnt_characters=characters,
        sources=sources,
        warnings=(*warnings, *missing),
    )


def _extend(step: Step, inputs: Inputs) -> Estimate:
    settings, (model,) = _typed(step, ExtendSettings), inputs.values()
    old = model.architecture.vocab_size
    wanted, unit = old + settings.pieces, settings.pad_vocab_to
    vocab_size = (wanted + unit - 1) // unit * unit
    after = replace(
        model,
        architecture=model.architecture.model_copy(update={"vocab_size": vocab_size}),
        new_rows=model.new_rows + vocab_size - old,
        extended=True,
    )
    sources, warnings = sources_used(step.name, dict.fromkeys(settings.corpus, 1.0), "train documents", model.rates)
    tried_tokens = _TRIED_TOKENS.get(settings.init, 0)
    return Estimate(
        after,
        flops=scoring_flops(model.architecture, tried_tokens),
        read_bytes=(1 + 2 * bool(tried_tokens)) * model.stored_bytes,
        written_bytes=after.stored_bytes,
        memory_bytes=_LEARNING_BYTES + (layer_bytes(model.architecture) if tried_tokens else 0),
        learnt_characters=sum(use.characters or 0 for use in sources),
        sources=sources,
        warnings=warnings,
    )


_TRIED_TOKENS = {"calibrated": 8_000, "best": 8_000 + 3 * 12_800}
"""Of text on which rows for new pieces are tried, at the most: one for each character."""
_LEARNING_BYTES = 2_000_000_000
"""Memory of learning pieces, and of the surroundings in which they stand."""


def _upcycle(step: Step, inputs: Inputs) -> Estimate:
    settings, (model,) = _typed(step, UpcycleSettings), inputs.values()
    if model.architecture.is_moe:
        raise RecipeError(
            f"stage {step.name!r} upcycles a model that has {model.architecture.num_experts} experts already",
            hint="upcycle takes a dense model; set `from:` to a stage before the experts",
        )
    width, granularity = model.architecture.intermediate_size, settings.granularity
    if width % granularity:
        raise RecipeError(
            f"stage {step.name!r} cuts {width} intermediate channels into {granularity} parts, which leaves a rest",
            hint="granularity must divide intermediate_size",
        )
    mixture = mixture_of(
        model.architecture,
        experts=settings.experts,
        active=settings.active,
        expert_size=width // granularity,
    )
    after = replace(model, architecture=mixture)
    return Estimate(
        after, read_bytes=model.stored_bytes, written_bytes=after.stored_bytes, memory_bytes=STREAMING_BYTES
    )


def _compose(step: Step, inputs: Inputs) -> Estimate:
    settings, model = _typed(step, ComposeSettings), next(iter(inputs.values()))
    if model.architecture.is_moe:
        raise RecipeError(
            f"stage {step.name!r} composes experts around a model that has {model.architecture.num_experts} already",
            hint="the base is a dense model; set `from:` to a stage before the experts",
        )
    mixture = mixture_of(model.architecture, experts=len(settings.experts), active=settings.experts_per_token)
    weight_bytes = _STORED_BYTES[settings.dtype] if settings.dtype else model.weight_bytes
    after = replace(model, architecture=mixture, weight_bytes=weight_bytes)
    return Estimate(
        after,
        read_bytes=len(settings.named_models()) * model.stored_bytes,
        written_bytes=after.stored_bytes,
        memory_bytes=STREAMING_BYTES,
    )


def _chat_vector(step: Step, inputs: Inputs) -> Estimate:
    settings, model = _typed(step, ChatVectorSettings), next(iter(inputs.values()))
    weight_bytes = _STORED_BYTES[settings.dtype] if settings.dtype else model.weight_bytes
    after = replace(model, weight_bytes=weight_bytes)
    return Estimate(
        after,
        read_bytes=(1 + len(settings.named_models())) * model.stored_bytes,
        written_bytes=after.stored_bytes,
        memory_bytes=STREAMING_BYTES,
    )


def _prepare(step: Step, inputs: Inputs) -> Estimate:
    settings, (model,) = _typed(step, PrepareSettings), inputs.values()
    sources, warnings = sources_prepared(step.name, settings.sources, model.rates)
    tokens, documents, characters = (
        sum(getattr(use, key) or 0 for use in sources) for key in ("source_tokens", "documents", "characters")
    )
    near = settings.duplicates.near is not None
    return Estimate(
        replace(model, packed=sources),
        tokens=None if warnings else tokens,
        written_bytes=tokens * stored_token_bytes(model.architecture.vocab_size) + _INDEX_BYTES * documents,
        # the cleaned text, signatures, and what they are compared through, which is up to as much again
        in_flight_bytes=characters + 2 * near * 4 * settings.duplicates.permutations * documents,
        memory_bytes=2 * STREAMING_BYTES + _COMPARED_BYTES * documents,
        prepared_characters=characters,
        sources=sources,
        warnings=warnings,
    )


_INDEX_BYTES, _COMPARED_BYTES = 20, 25
"""Of a document in its shard's index, and in memory while duplicates are looked for."""


def _pretrain(step: Step, inputs: Inputs) -> Estimate:
    settings, model = _typed(step, PretrainSettings), next(iter(inputs.values()))
    packed = {name: packed.packed for name, packed in inputs.items()}
    sources, warnings = sources_mixed(step.name, settings, packed, model.rates)
    return _training(step, settings, model, tokens=settings.tokens, sources=sources, warnings=warnings)


def _sft(step: Step, inputs: Inputs) -> Estimate:
    settings, (model,) = _typed(step, SftSettings), inputs.values()
    sources, warnings = sources_used(step.name, dict.fromkeys(settings.data, 1.0), "conversations", model.rates)
    sources = tuple(
        replace(use, tokens=round(use.source_tokens * settings.epochs), epochs=settings.epochs)
        for use in sources
        if use.source_tokens is not None
    )
    tokens = sum(use.tokens or 0 for use in sources) if len(sources) == len(settings.data) else None
    return _training(step, settings, model, tokens=tokens, sources=sources, warnings=warnings)


def _verify(step: Step, inputs: Inputs) -> Estimate:
    settings, models = _typed(step, VerifySettings), list(inputs.values())
    _, warnings = sources_used(step.name, {settings.text: 1.0}, "train documents", models[0].rates)
    hidden_bytes = 2 * 2 * FLOAT32_BYTES * settings.tokens * models[0].architecture.hidden_size
    return Estimate(
        models[0],
        flops=sum(scoring_flops(model.architecture, settings.tokens) for model in models),
        tokens=settings.tokens * len(models),
        read_bytes=sum(model.stored_bytes for model in models),
        memory_bytes=PROCESS_BYTES + hidden_bytes + sum(layer_bytes(model.architecture) for model in models),
        warnings=warnings,
    )


def _evaluate(step: Step, inputs: Inputs) -> Estimate:
    settings, models = _typed(step, EvaluateSettings), list(inputs.values())
    sizes, warnings = _evaluated_texts(step.name, settings)
    tokens = [sum(model.rates.tokens(size) for size in sizes) for model in models]
    return Estimate(
        models[-1],
        flops=sum(
            scoring_flops(model.architecture, read) for model, read in zip(models, tokens, strict=True)
        ),
        tokens=None if warnings else sum(tokens),
        read_bytes=sum(model.stored_bytes for model in models),
        memory_bytes=PROCESS_BYTES + max(loaded_bytes(model.architecture) for model in models),
        warnings=warnings,
    )


def _evaluated_texts(stage: str, settings: EvaluateSettings) -> tuple[list[CorpusSize], tuple[str, ...]]:
    sizes, warnings = [], []
    for source in settings.texts.values():
        try:
            sizes.append(
                measure_corpus(
                    source,
                    "held-out documents",
                    limit=min((n for n in (settings.limit, settings.max_documents) if n), default=None),
                    max_characters=settings.max_characters,
                )
            )
        except InputFileError as error:
            warnings.append(f"{stage}: {error}")
    sizes.append(measure_corpus("starter:quiz_ja", "quiz questions", limit=settings.limit))
    return sizes, tuple(warnings)


def _export(step: Step, inputs: Inputs) -> Estimate:
    settings, (model,) = _typed(step, ExportSettings), inputs.values()
    size = gguf_bytes(model.architecture, settings.type)
    return Estimate(
        model,
        read_bytes=model.stored_bytes + size,
        written_bytes=size,
        memory_bytes=STREAMING_BYTES + size,
        flops=2 * count_multiplied(model.architecture) * _EXPORT_CHECK_TOKENS,
    )


_EXPORT_CHECK_TOKENS = 64
"""The reply on which an exported file is tried."""


def _training(
    step: Step,
    settings: TrainingSettings,
    model: Model,
    *,
    tokens: int | None,
    sources: tuple[SourceUse, ...],
    warnings: tuple[str, ...],
) -> Estimate:
    if settings.trainable == "new-embeddings" and not model.new_rows:
        warnings += (f"{step.name} trains only new embedding rows, but no stage before it adds any",)
    architecture = model.architecture
    trained = replace(model, weight_bytes=FLOAT32_BYTES)
    step_bytes = training_memory(architecture, settings, settings.precision, model.new_rows).total
    return Estimate(
        trained,
        flops=training_flops(architecture, settings, tokens or 0, model.new_rows),
        tokens=tokens,
        steps=None if tokens is None else -(-tokens // settings.batch_tokens),
        read_bytes=model.stored_bytes,
        written_bytes=trained.stored_bytes,
        # the next one is complete before the last one goes
        in_flight_bytes=2 * resume_bytes(architecture, settings, model.new_rows),
        memory_bytes=max(step_bytes, PROCESS_BYTES + loaded_bytes(architecture)),
        precision=settings.precision,
        sources=sources,
        warnings=warnings,
    )


def _typed(step: Step, kind: type[_Settings]) -> _Settings:
    assert isinstance(step.settings, kind)
    return step.settings


# The one table of estimates, beside the table of stages in moyai.recipe.settings.
_ESTIMATES: dict[str, Callable[[Step, Inputs], Estimate]] = {
    "train_tokenizer": _train_tokenizer,
    "init": _init,
    "extend": _extend,
    "prepare": _prepare,
    "upcycle": _upcycle,
    "compose": _compose,
    "chat_vector": _chat_vector,
    "pretrain": _pretrain,
    "sft": _sft,
    "verify": _verify,
    "evaluate": _evaluate,
    "export": _export,
}
