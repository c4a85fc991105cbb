"""Chat vectors: what two models differ in, and how much of it is added to a third."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Skip = Literal["embeddings", "head", "norms"]


class ChatVector(BaseModel):
    """The weights of a chat model minus those of the model that it was tuned from, times a ratio."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    chat: Annotated[str, Field(min_length=1, description="The tuned model: MODEL or stage:NAME.")]
    base: Annotated[str, Field(min_length=1, description="What it was tuned from: MODEL or stage:NAME.")]
    ratio: Annotated[float, Field(default=1.0, ge=-10.0, le=10.0, description="How much of the difference is added.")]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _words(value: Any) -> Any:
    return (value,) if isinstance(value, str) else _tuple(value)


ChatVectors = Annotated[tuple[ChatVector, ...], BeforeValidator(_tuple), Field(min_length=1)]
Skips = Annotated[tuple[Skip, ...], BeforeValidator(_words)]
