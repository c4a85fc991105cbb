"""A language model that runs rows of token forests and answers with the wanted log-probabilities.

Shape letters: B rows (1), L tokens of a row, W wanted targets, D hidden size, V vocabulary, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.utils import logging as transformers_logging

from moyai.forest.experts import experts_one_by_one
from moyai.forest.head import target_log_probs
from moyai.forest.row import Row

ALL_EXPERTS_FUNCTIONS.register("one_by_one", experts_one_by_one)
transformers_logging.disable_progress_bar()  # moyai shows its own


@dataclass(frozen=True)
class Scores:
    """What a row's forward pass gives."""

    log_probs_W: torch.Tensor
    """float32."""
    router_logits_LE: tuple[torch.Tensor, ...]
    """One per layer; empty for a dense model."""


class SplitEmbedding(nn.Module):
    """An embedding whose first rows came with the base and whose last rows are new, as two parameters.

    Two parameters, because new rows learn at another rate, or alone; a frozen block has no optimiser state.
    """

    def __init__(self, weight_VD: torch.Tensor, num_base_rows: int) -> None:
        super().__init__()
        self.base_VD = nn.Parameter(weight_VD[:num_base_rows].clone())
        self.new_VD = nn.Parameter(weight_VD[num_base_rows:].clone())

    @property
    def blocks(self) -> tuple[torch.Tensor, ...]:
        """The blocks of rows in order; an empty one is left out."""
        return (self.base_VD, self.new_VD) if len(self.new_VD) else (self.base_VD,)

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """Float [B, L, D]."""
        num_base = len(self.base_VD)
        if not len(self.new_VD):
            return functional.embedding(ids_BL, self.base_VD)
        is_new_BL1 = (ids_BL >= num_base)[..., None]
        base_BLD = functional.embedding(ids_BL.clamp(max=num_base - 1), self.base_VD)
        new_BLD = functional.embedding((ids_BL - num_base).clamp(min=0), self.new_VD)
        return torch.where(is_new_BL1, new_BLD, base_BLD)


class ForestModel(nn.Module):
    """Backbone and head in one module, so that wrappers which hook `forward` see both."""

    def __init__(self, model: PreTrainedModel, *, precision: torch.dtype, num_base_rows: int | None = None) -> None:
        super().__init__()
        self.config = model.config
        self.precision = precision
        self.tied = bool(model.config.tie_word_embeddings)
        rows = model.config.vocab_size if num_base_rows is None else num_base_rows
        self.embedding = SplitEmbedding(model.get_input_embeddings().weight.data, rows)
        self.head = self.embedding if self.tied else SplitEmbedding(model.get_output_embeddings().weight.data, rows)
        model.set_input_embeddings(self.embedding)
        self.backbone = model.model
        self.is_moe = getattr(model.config, "num_local_experts", 1) > 1

    def forward(self, row: Row) -> Scores:
        """Run one row."""
        extra = {"output_router_logits": True} if self.is_moe else {}
        with torch.autocast(row.ids_BL.device.type, self.precision, enabled=self.precision != torch.float32):
            output = self.backbone(
                input_ids=row.ids_BL,
                position_ids=row.positions_BL,
                attention_mask=row.mask_BHLL,
                use_cache=False,
                **extra,
            )
            hidden_WD = output.last_hidden_state[0, row.wanted_W].to(self.precision)
            log_probs_W = target_log_probs(hidden_WD, self.head.blocks, row.targets_W)
        return Scores(log_probs_W, tuple(output.router_logits) if self.is_moe else ())


def load_forest_model(checkpoint_dir: Path, *, precision: torch.dtype, device: torch.device) -> ForestModel:
    """Load a checkpoint directory with float32 weights; matrix products run in `precision`."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint_dir, dtype=torch.float32, attn_implementation="sdpa")
    if getattr(model.config, "num_local_experts", 1) > 1 and device.type == "cpu":
        model.set_experts_implementation("one_by_one")
    num_base_rows = getattr(model.config, "moyai_num_base_rows", None)
    loaded: ForestModel = ForestModel(model, precision=precision, num_base_rows=num_base_rows).to(device)
    return loaded
