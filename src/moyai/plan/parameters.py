"""Parameter counts, exact, from the dimensions alone.

Every count is a sum over one table of a model's weight matrices, so the number of parameters, the size of a
GGUF file and the state of an optimiser can never disagree about what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from moyai.recipe.architecture import Architecture

Role = Literal["embedding", "head", "attention", "feed_forward", "router", "norm"]
"""`norm` is every weight that is a vector: norms and, in Qwen2, biases."""

PRODUCT_ROLES: tuple[Role, ...] = ("attention", "feed_forward", "router")
"""The matrices between embedding and head."""


@dataclass(frozen=True)
class WeightGroup:
    """All weights of one shape and role: `copies` matrices, of which a token uses `active_copies`."""

    role: Role
    rows: int
    columns: int
    copies: int
    active_copies: int

    @property
    def num_parameters(self) -> int:
        """Of all copies together."""
        return self.rows * self.columns * self.copies

    @property
    def num_active(self) -> int:
        """Of the copies that one token uses."""
        return self.rows * self.columns * self.active_copies


@dataclass(frozen=True)
class ParameterCount:
    """How many parameters a model has; `active` is what one token uses, embeddings and head included."""

    embedding: int
    """Input embedding, and output head where it is not tied."""
    non_embedding: int
    active_non_embedding: int

    @property
    def total(self) -> int:
        """Every weight once."""
        return self.embedding + self.non_embedding

    @property
    def active(self) -> int:
        """The weights that one token uses."""
        return self.embedding + self.active_non_embedding


def weight_groups(architecture: Architecture) -> tuple[WeightGroup, ...]:
    """Every weight of the model; a tied head is not stored and therefore not listed."""
    hidden, ffn = architecture.hidden_size, architecture.intermediate_size
    layers = architecture.num_hidden_layers
    query = architecture.num_attention_heads * architecture.head_dim
    key_value = architecture.num_key_value_heads * architecture.head_dim
    experts, active = layers * architecture.num_experts, layers * architecture.num_active_experts
    groups = [WeightGroup("embedding", architecture.vocab_size, hidden, 1, 1)]
    if not architecture.tie_word_embeddings:
        groups.append(WeightGroup("head", architecture.vocab_size, hidden, 1, 1))
    groups += [
        WeightGroup("attention", query, hidden, layers, layers),
        WeightGroup("attention", key_value, hidden, 2 * layers, 2 * layers),
        WeightGroup("attention", hidden, query, layers, layers),
        WeightGroup("feed_forward", ffn, hidden, 2 * experts, 2 * active),
        WeightGroup("feed_forward", hidden, ffn, experts, active),
        WeightGroup("norm", 1, hidden, 2 * layers + 1, 2 * layers + 1),
    ]
    if architecture.has_qkv_bias:
        groups.append(WeightGroup("norm", 1, query + 2 * key_value, layers, layers))
    if architecture.has_qk_norm:
        groups.append(WeightGroup("norm", 1, architecture.head_dim, 2 * layers, 2 * layers))
    if architecture.is_moe:
        groups.append(WeightGroup("router", architecture.num_experts, hidden, layers, layers))
    if shared := architecture.shared_expert_size:
        groups += [
            WeightGroup("feed_forward", shared, hidden, 2 * layers, 2 * layers),
            WeightGroup("feed_forward", hidden, shared, layers, layers),
            WeightGroup("router", 1, hidden, layers, layers),
        ]
    return tuple(groups)


def count_parameters(architecture: Architecture) -> ParameterCount:
    """The exact count; every token uses the whole router.

    >>> smollm2 = Architecture(
    ...     family="llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
    ...     num_attention_heads=9, num_key_value_heads=3, head_dim=64, tie_word_embeddings=True)
    >>> count_parameters(smollm2).total
    134515008
    """
    groups = weight_groups(architecture)
    embedding = [group for group in groups if group.role in ("embedding", "head")]
    others = [group for group in groups if group.role not in ("embedding", "head")]
    return ParameterCount(
        embedding=sum(group.num_parameters for group in embedding),
        non_embedding=sum(group.num_parameters for group in others),
        active_non_embedding=sum(group.num_active for group in others),
    )


def count_as_on_card(architecture: Architecture, *, vocab_size: int) -> ParameterCount:
    """The count in the convention of the llm-jp model cards.

    Source: reproduces the cards of llm-jp-3.1-8x13b-instruct4 and llm-jp-3-8x1.8b to the digit.  It departs
    from `count_parameters` in two ways: the vocabulary is given, not the padded one of the checkpoint, and of
    the router only the rows of the active experts count as active.
    """
    plain = count_parameters(architecture.model_copy(update={"vocab_size": vocab_size}))
    idle_rows = architecture.num_experts - architecture.num_active_experts
    idle = idle_rows * architecture.hidden_size * architecture.num_hidden_layers
    return ParameterCount(
        embedding=plain.embedding,
        non_embedding=plain.non_embedding,
        active_non_embedding=plain.active_non_embedding - (idle if architecture.is_moe else 0),
    )


def count_multiplied(architecture: Architecture) -> int:
    """Parameters that one token is multiplied with: no norms, no input look-up, but the head, tied or not."""
    head = architecture.vocab_size * architecture.hidden_size
    inner = [group for group in weight_groups(architecture) if group.role in PRODUCT_ROLES]
    return head + sum(group.num_active for group in inner)
