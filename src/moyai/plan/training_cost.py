"""What training costs: operations, memory, and the checkpoint from which it resumes."""

from __future__ import annotations

from dataclasses import dataclass

from moyai.plan.machine import Precision
from moyai.plan.parameters import (
    PRODUCT_ROLES,
    WeightGroup,
    count_multiplied,
    count_parameters,
    weight_groups,
)
from moyai.recipe.architecture import Architecture
from moyai.recipe.settings import Trainable, TrainingSettings

PROCESS_BYTES = 600_000_000
"""Python, torch and transformers before any weight is loaded."""
_ALLOCATOR_SHARE = 1.25
"""What the allocator holds and cannot use again: fitted to one run's 7.8 GB (374 M parameters, 4 experts)."""
_LOGITS_BYTES = 64_000_000
"""The head works on slices of the vocabulary: logits, their exponentials and gradients of one slice."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes alive at the peak of a training step, by what they are."""

    weights: int
    """float32, and the bfloat16 copies that the products of a step read."""
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of them and the process itself."""
        used = self.weights + self.gradients + self.optimizer + self.activations + _LOGITS_BYTES
        return PROCESS_BYTES + round(_ALLOCATOR_SHARE * used)


def trainable_groups(
    architecture: Architecture, trainable: Trainable, new_rows: int
) -> tuple[WeightGroup, ...]:
    """The weights that move; `new_rows` is how many rows `extend` has added to the embedding."""
    groups = weight_groups(architecture)
    if trainable == "all":
        return groups
    if trainable == "no-attention":
        return tuple(group for group in groups if group.role != "attention")
    return tuple(
        WeightGroup(group.role, new_rows, group.columns, group.copies, group.active_copies)
        for group in groups
        if group.role in ("embedding", "head")
    )


def training_flops(architecture: Architecture, settings: TrainingSettings, tokens: int, new_rows: int) -> int:
    """Operations of training on `tokens` tokens: 6 per multiplied weight and token, and the attention.

    Source: Kaplan et al. 2020 (2001.08361), section 2.1.  Departures: a weight that does not move needs no
    gradient of its own (4 instead of 6); the head makes its logits twice; attention is counted over the whole
    packed row, because a mask hides other documents but saves no work.
    """
    head = architecture.vocab_size * architecture.hidden_size
    per_token = 4 * count_multiplied(architecture) + 2 * head
    per_token += 3 * attention_flops(architecture, settings.row_tokens)
    moving = trainable_groups(architecture, settings.trainable, new_rows)
    per_token += 2 * sum(g.num_active for g in moving if g.role in PRODUCT_ROLES)
    per_token += 2 * (new_rows * architecture.hidden_size if settings.trainable == "new-embeddings" else head)
    return per_token * tokens


def scoring_flops(architecture: Architecture, tokens: int, row_tokens: int = 512) -> int:
    """Operations of running the model forwards over `tokens` tokens in rows of `row_tokens`."""
    return (2 * count_multiplied(architecture) + attention_flops(architecture, row_tokens)) * tokens


def attention_flops(architecture: Architecture, row_tokens: int) -> int:
    """Operations of queries times keys and scores times values, for one token of a row, forwards."""
    width = architecture.num_attention_heads * architecture.head_dim
    return 4 * architecture.num_hidden_layers * width * row_tokens


def training_memory(
    architecture: Architecture, settings: TrainingSettings, precision: Precision, new_rows: int
) -> TrainingMemory:
    """Peak of one training step with one row as micro-batch; `auto` is whichever of the two takes more."""
    if precision == "auto":
        plain = training_memory(architecture, settings, "float32", new_rows)
        mixed = training_memory(architecture, settings, "bfloat16", new_rows)
        return max(plain, mixed, key=lambda memory: memory.total)
    moving = trainable_groups(architecture, settings.trainable, new_rows)
    total = count_parameters(architecture).total
    copies = 0 if precision == "float32" else 2 * total
    return TrainingMemory(
        weights=4 * total + copies,
        gradients=4 * sum(group.num_parameters for group in moving),
        optimizer=optimizer_bytes(settings, moving),
        activations=_activation_bytes(architecture, settings.row_tokens, 4 if precision == "float32" else 2),
    )


def loaded_bytes(architecture: Architecture) -> int:
    """A model in float32 at the peak of its loading, when experts lie there twice: loose and stacked."""
    groups = weight_groups(architecture)
    stacked = sum(g.num_parameters for g in groups if g.role == "feed_forward") if architecture.is_moe else 0
    return 4 * (sum(g.num_parameters for g in groups) + stacked)


def layer_bytes(architecture: Architecture) -> int:
    """One layer in float32 at the peak of its loading, when its largest stack of experts lies there twice."""
    inner = [group for group in weight_groups(architecture) if group.role not in ("embedding", "head")]
    largest = max(group.num_parameters for group in inner) if architecture.is_moe else 0
    return 4 * (sum(group.num_parameters for group in inner) + largest) // architecture.num_hidden_layers


def resume_bytes(architecture: Architecture, settings: TrainingSettings, new_rows: int) -> int:
    """Size of one checkpoint to resume from: the weights that move, in float32, and their optimiser state."""
    moving = trainable_groups(architecture, settings.trainable, new_rows)
    return 4 * sum(group.num_parameters for group in moving) + optimizer_bytes(settings, moving)


def optimizer_bytes(settings: TrainingSettings, moving: tuple[WeightGroup, ...]) -> int:
    """State of the optimiser: adamw has two float32 a weight, adafactor one a row and one a column."""
    if settings.optimizer == "adamw":
        return 8 * sum(group.num_parameters for group in moving)
    return 4 * sum(g.copies * (g.columns if g.role == "norm" else g.rows + g.columns) for g in moving)


def _activation_bytes(architecture: Architecture, row_tokens: int, value_bytes: int) -> int:
    """What the backward pass needs of every layer: products' inputs, queries, keys, values and the gate."""
    hidden, ffn = architecture.hidden_size, architecture.intermediate_size
    query = architecture.num_attention_heads * architecture.head_dim
    gathered = 2 * hidden if architecture.is_moe else 0
    experts = architecture.num_active_experts * (4 * ffn + gathered)
    mask = row_tokens
    in_precision = 2 * hidden + 4 * query + experts + mask
    residual = 4 * hidden  # stays float32 whatever the products are in
    per_token = in_precision * value_bytes + residual * 4
    return row_tokens * architecture.num_hidden_layers * per_token
