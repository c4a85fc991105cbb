"""The supervised fine-tuning objective: only the assistant's words."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moyai.errors import UserError
from moyai.forest.pack import pack_whole
from moyai.forest.tree import Tree, sequence_tree
from moyai.recipe.settings import SftSettings
from moyai.training.objective import Rows


@dataclass(frozen=True)
class TokenizedConversation:
    """A rendered conversation; `weights` is 1 where the assistant speaks, its end mark included."""

    ids: Sequence[int]
    weights: Sequence[float]


def sft_rows(conversations: Mapping[str, Sequence[TokenizedConversation]], settings: SftSettings) -> Rows:
    """Rows for `settings.epochs` passes over the conversations, none cut; too long ones are counted, not cut.

    Raises:
        UserError: nothing fits a row.
    """
    fitting = {
        name: [c for c in source if len(c.ids) <= settings.row_tokens and any(c.weights)]
        for name, source in conversations.items()
    }
    pool = [(name, conversation) for name, source in fitting.items() for conversation in source]
    if not pool:
        raise UserError(f"no conversation fits a row of {settings.row_tokens} tokens", hint="raise row_tokens")
    order: list[tuple[str, TokenizedConversation]] = []
    for epoch in range(-(-int(settings.epochs * 1000) // 1000)):
        shuffled = list(pool)
        random.Random(f"{settings.seed}/{epoch}").shuffle(shuffled)
        order.extend(shuffled)
    order = order[: round(settings.epochs * len(pool))]
    trees: list[Tree] = [sequence_tree(conversation.ids, conversation.weights) for _, conversation in order]
    rows = list(pack_whole(trees, row_tokens=settings.row_tokens))
    sources = {}
    for name, source in conversations.items():
        used = [conversation for used_name, conversation in order if used_name == name]
        sources[name] = {
            "tokens": sum(len(conversation.ids) for conversation in used),
            "documents": len(used),
            "documents_in_source": len(source),
            "left_out_too_long_or_without_assistant": len(source) - len(fitting[name]),
            "epochs": round(len(used) / max(1, len(fitting[name])), 3),
        }
    return Rows(rows, sources, sum(tree.num_tokens for tree in trees))
