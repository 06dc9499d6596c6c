"""Sections of a config about what the limit is quoted on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from darksieve.config.fields import Name, Positive, Section


class FitConfig(Section):
    """A fit of some channels alone, beside that of all: limits on a branching fraction."""

    channels: Annotated[list[str], Field(min_length=1)]


class InterpretationConfig(Section):
    """What the limit is quoted on; ``darksieve.couplings`` converts it from the linear parameter.

    For ``g_aW`` the linear parameter is the branching fraction of the first channel's decay, to which those
    of the other channels are tied by the coupling. ALPs that fly further than ``prompt_mm`` are marked; with
    ``fold_flight`` only those that decay within it count.
    """

    parameter: Literal["cross_section", "branching_fraction", "signal_events", "g_agammagamma", "g_aW"] = (
        "signal_events"
    )
    particle: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9']*$")] = "a"
    published: str | None = None
    published_range: str | None = None
    also: dict[Name, FitConfig] = Field(default_factory=dict)
    prompt_mm: Positive | None = None
    fold_flight: bool = False

    @model_validator(mode="after")
    def _flight(self) -> InterpretationConfig:
        if self.fold_flight and (self.prompt_mm is None or self.parameter != "g_aW"):
            raise ValueError("fold_flight needs prompt_mm and parameter: g_aW")
        return self
