"""Prompts from which a router is computed: what each expert is for, and what it is not for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

GateMode = Literal["hidden", "hidden_avg", "cheap_embed"]


def _texts(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class ExpertPrompts(BaseModel):
    """The prompts of one expert."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    positive: Annotated[Texts, Field(min_length=1)]
    negative: Texts = ()


ExpertPromptSets = Annotated[tuple[ExpertPrompts, ...], BeforeValidator(_texts)]
