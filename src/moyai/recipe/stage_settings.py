"""What the settings of all stages have in common."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["tokenizer", "corpus", "checkpoint", "scores", "certificate", "release"]


class StageSettings(BaseModel):
    """A name of its own and the stage it takes its model from."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False
    )

    produces: ClassVar[Kind] = "checkpoint"

    name: str = Field(default="", pattern=r"^[a-z0-9][a-z0-9_-]*$|^$", description="Defaults to the stage's kind.")
    source: str = Field(
        default="", alias="from", description="Name of the stage whose checkpoint is the input; default: the one before."
    )

    def named_models(self) -> tuple[str, ...]:
        """The models that it reads besides its input, each once: MODEL or `stage:NAME`."""
        return ()

    def named_corpora(self) -> tuple[str, ...]:
        """The texts that it reads: files, or `stage:NAME[/SOURCE]` for what an earlier stage has packed."""
        return ()
