"""Sections of a config about what the limit is quoted on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from darksieve.config.fields import Fraction, Name, Positive, Section


class FitConfig(Section):
    """A fit of some channels alone, beside that of all: limits on what their yield is proportional to."""

    channels: Annotated[list[str], Field(min_length=1)]


class DarkSectorConfig(Section):
    """What a limit on sin θ supposes of the rest of the model: e+e- → h' A', A' → χ1 χ2, χ2 → χ1 e+e-.

    ``epsilon``: kinetic mixing; ``alpha_dark``: dark fine-structure constant; ``chi2_to_electrons``:
    B(χ2 → χ1 e+e-). The masses of χ1 and χ2 and the lifetime of χ2 are those of the signal's simulation.
    """

    dark_photon_mass: Positive
    alpha_dark: Positive
    epsilon: Positive
    chi2_to_electrons: Fraction = 1.0


class InterpretationConfig(Section):
    """What the limit is quoted on; ``darksieve.couplings`` converts it from the linear parameter.

    For ``g_aW`` the linear parameter is the branching fraction of the first channel's decay, to which those
    of the other channels are tied by the coupling. ALPs that fly further than ``prompt_mm`` are marked; with
    ``fold_flight`` only those that decay within it count.

    For ``sin_theta`` it is the cross section of e+e- → h' χ1 χ2 times B(χ2 → χ1 e+e-), to which the channels
    are tied by B(h' → ``final_state``); ``dark_sector`` says what else is supposed.
    """

    parameter: Literal[
        "cross_section", "branching_fraction", "signal_events", "g_agammagamma", "g_aW", "sin_theta"
    ] = "signal_events"
    particle: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9']*$")] = "a"
    published: str | None = None
    published_range: str | None = None
    also: dict[Name, FitConfig] = Field(default_factory=dict)
    prompt_mm: Positive | None = None
    fold_flight: bool = False
    dark_sector: DarkSectorConfig | None = None

    @model_validator(mode="after")
    def _flight(self) -> InterpretationConfig:
        if self.fold_flight and (self.prompt_mm is None or self.parameter != "g_aW"):
            raise ValueError("fold_flight needs prompt_mm and parameter: g_aW")
        return self

    @model_validator(mode="after")
    def _model(self) -> InterpretationConfig:
        if (self.dark_sector is None) == (self.parameter == "sin_theta"):
            raise ValueError("dark_sector goes with parameter: sin_theta, which needs it")
        return self
