"""What a mixture is composed of: the experts of a mergekit-moe file, in its own words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeFloat

from moyai.recipe.expert_prompts import Texts

STAGE_PREFIX = "stage:"

# hidden_last is another name of hidden
ComposeGateMode = Literal["hidden", "hidden_last", "hidden_avg", "cheap_embed", "random", "uniform_random"]
DRAWN_MODES = ("random", "uniform_random")


class ExpertSource(BaseModel):
    """One expert: whose feed-forward layers it gets, and what for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source_model: Annotated[str, Field(min_length=1)]
    positive_prompts: Annotated[Texts, BeforeValidator(lambda value: () if value is None else value)] = ()
    negative_prompts: Annotated[Texts, BeforeValidator(lambda value: () if value is None else value)] = ()
    noise_scale: NonNegativeFloat | None = Field(
        default=None, description="Standard deviation of noise that is added to its weights."
    )
    residual_scale: float | None = Field(
        default=None, description="What its down projection is multiplied with."
    )


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else () if value is None else value


ExpertSources = Annotated[tuple[ExpertSource, ...], BeforeValidator(_tuple)]
