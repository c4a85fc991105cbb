"""Kinds of values that settings of several stages have, and how they may be written short."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt


def _whole(value: Any) -> Any:
    """YAML and the command line write one million as 1e6: a float that is whole counts as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sources(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Count = Annotated[PositiveInt, BeforeValidator(_whole)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Sources = Annotated[tuple[str, ...], BeforeValidator(_sources), Field(min_length=1)]
"""Files; one alone needs no list."""

LossOn = Literal["all", "last"]
ChatTemplateName = Literal["chatml", "llama-2", "llama-3", "llm-jp", "rakuten"]
