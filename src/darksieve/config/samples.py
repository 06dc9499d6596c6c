"""Sections of a config about samples: files or generators, corrections of their weights, pseudo-data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from darksieve.config.fields import Fraction, Interval, Name, NonNegative, Positive, Section
from darksieve.config.peaks import PeaksConfig


class LifetimeConfig(Section):
    """Proper decay lengths of a signal, from which its efficiency at any lifetime follows by weights.

    ``length``: the branch with the true proper decay length c·t in cm. ``generated_cm``: the smallest and the
    largest mean cτ that was generated, flat in the logarithm between; equal where it was one.
    """

    length: str
    generated_cm: tuple[Positive, Positive]

    @model_validator(mode="after")
    def _ordered(self) -> LifetimeConfig:
        low, high = self.generated_cm
        if low > high:
            raise ValueError(f"generated_cm goes from {low:g} to {high:g} cm: give the smaller one first")
        return self


class SampleConfig(Section):
    """One sample: files of the user's own, or events of a packaged generator.

    ``n_generated`` counts generated events: of a background with ``cross_section_fb``, of a signal at all
    masses (flat in ``mass_range``), or at each simulated mass. A control sample is scored and compared, and
    takes part in nothing else.
    """

    role: Literal["signal", "background", "data", "control"]
    process: Name | None = None
    period: Name | None = None
    files: list[str] | None = None
    simulate: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    tree: str = "ntuple"
    select: str | None = None
    luminosity_fb: Positive | None = None
    cross_section_fb: Positive | None = None
    n_generated: Annotated[int, Field(gt=0)] | dict[float, Annotated[int, Field(gt=0)]] | None = None
    mass: float | str | None = None
    mass_range: Interval | None = None
    lifetime: LifetimeConfig | None = None
    weight: str | None = None
    peaking: bool | PeaksConfig = False
    non_finite: Literal["error", "drop", "keep"] = "error"
    negative_weights: Literal["error", "drop", "keep", "rescale"] = "error"

    @model_validator(mode="after")
    def _one_source(self) -> SampleConfig:
        if (self.files is None) == (self.simulate is None):
            raise ValueError("give either files: [...] or simulate: NAME")
        if self.settings and self.simulate is None:
            raise ValueError("settings belong to simulate: NAME; this sample has files")
        if self.peaking and self.role != "background":
            raise ValueError(f"peaking is for backgrounds; the role of this sample is {self.role}")
        if self.lifetime is not None and self.role != "signal":
            raise ValueError(f"lifetime is for signals; the role of this sample is {self.role}")
        return self

    @property
    def peaks(self) -> PeaksConfig | None:
        """Its peaks where it has several."""
        return self.peaking if isinstance(self.peaking, PeaksConfig) else None


class CorrectionConfig(Section):
    """A table of factors on the weights of simulated events, with its covariance (docs/corrections.md).

    It is for the ``samples`` that are named, or for all of the ``roles``. With ``objects`` each of them is
    corrected in turn: they replace ``{object}`` in the table's branches. ``keep`` is the least fraction of
    the variance that its eigen-variations make up.
    """

    file: str
    samples: Annotated[list[str], Field(min_length=1)] | None = None
    roles: Annotated[list[Literal["signal", "background"]], Field(min_length=1)] = Field(
        default=["signal", "background"]
    )
    objects: list[str] = Field(default_factory=list)
    keep: Fraction = 0.99


class InjectConfig(Section):
    """A signal to inject into pseudo-data; the strength as itself or in expected limits."""

    mass: Positive
    times_expected_limit: Positive | None = None
    strength: Positive | None = None

    @model_validator(mode="after")
    def _one_strength(self) -> InjectConfig:
        if self.times_expected_limit is not None and self.strength is not None:
            raise ValueError("give either times_expected_limit or strength, not both")
        return self


class PseudoDataConfig(Section):
    """What stands in for data where there is none.

    Up to ``events_up_to_fb`` and where ``simulate`` names a generator, unweighted events of their own stream;
    above, Poisson draws from a smooth model of the simulated background. Either is labelled everywhere.
    """

    seed: Annotated[int, Field(ge=0)] = 1
    inject: InjectConfig | None = None
    simulate: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    events_up_to_fb: NonNegative = 20.0
