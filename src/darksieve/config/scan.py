"""Sections of a config about the scan: its channels, masses, background and nuisances."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from darksieve.config.fields import (
    FinalState,
    Fraction,
    Hadron,
    Interval,
    Name,
    NonNegative,
    Positive,
    Section,
)


class BackgroundConfig(Section):
    """The smooth background of a window; a list of families in ``family`` is not accepted here."""

    family: Literal["chebyshev", "bernstein", "exponential", "power"] = "chebyshev"
    order: Annotated[int, Field(ge=0, le=6)] = 3
    window_sigma: Positive = 20.0


class CountingConfig(Section):
    """Counting in windows, where next to no background is expected, instead of fitting it.

    What is counted lies within ``window_sigma`` resolutions of the mass. The background there is the average
    of the simulation over the least interval with ``events`` effective events, at most ``average_sigma``
    resolutions to each side; ``uncertainty`` is relative, beside its statistical error.
    """

    window_sigma: Positive = 2.0
    average_sigma: Positive = 20.0
    events: Positive = 10.0
    uncertainty: NonNegative = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> CountingConfig:
        if self.average_sigma < self.window_sigma:
            raise ValueError(
                f"average_sigma is {self.average_sigma:g}, window_sigma {self.window_sigma:g}: the average is"
                " over the window or more"
            )
        return self


class ChannelConfig(Section):
    """One channel of the fit: its selection, and where it differs from the scan.

    ``sideband`` is a wider selection, whose candidates teach the classifiers and stand for background inside.
    """

    select: str | None = None
    sideband: str | None = None
    period: Name | None = None
    n_parents: Positive | None = None
    secondary_fraction: Fraction = 1.0
    hadron: Hadron | None = None
    final_state: FinalState | None = None
    range: Interval | None = None
    observable: str | None = None
    background: BackgroundConfig | None = None

    @property
    def selections(self) -> dict[str, str]:
        """Key -> expression of those that are given."""
        given = {"select": self.select, "sideband": self.sideband}
        return {key: value for key, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _sideband_of_something(self) -> ChannelConfig:
        if self.sideband is not None and self.select is None:
            raise ValueError("sideband is a wider selection around select: give select")
        return self


class NamedNuisanceConfig(Section):
    """A relative uncertainty of the signal yield, one parameter in all of its channels (all by default).

    ``sizes``: of channels in which it is another than ``size``.
    """

    size: Positive
    channels: Annotated[list[str], Field(min_length=1)] | None = None
    sizes: dict[str, Positive] = Field(default_factory=dict)


class NuisancesConfig(Section):
    """Relative sizes of the systematic uncertainties; ``scale_sigma`` in units of the resolution.

    ``spurious_signal`` is relative to the background within ±2 resolutions, one for each channel of the fit;
    or ``measured``: at each mass what the fit finds in simulated background, where that is known well enough.
    """

    luminosity: NonNegative = 0.0
    efficiency: NonNegative = 0.0
    width: NonNegative = 0.0
    scale_sigma: NonNegative = 0.0
    spurious_signal: NonNegative | Literal["measured"] = 0.0
    peaking: NonNegative = 0.2
    named: dict[Name, NamedNuisanceConfig] = Field(default_factory=dict)


class ScanConfig(Section):
    """The mass hypotheses and the model that is fitted at each.

    With ``ctau_cm``, mean proper decay lengths in cm, the scan is repeated with the efficiency of each.
    """

    observable: str
    range: Interval
    step_sigma: Positive | None = None
    masses: Annotated[list[float], Field(min_length=1)] | None = None
    vetoes: list[Interval] = Field(default_factory=list)
    background: BackgroundConfig = BackgroundConfig()
    counting: CountingConfig | None = None
    nuisances: NuisancesConfig = NuisancesConfig()
    ctau_cm: Annotated[list[Positive], Field(min_length=1)] | None = None
    method: Literal["auto", "asymptotic", "exact", "toys", "marginal"] = "auto"
    bins_per_sigma: Annotated[int, Field(ge=1, le=60)] = 6
    toys: Annotated[int, Field(ge=100)] = 10000

    @model_validator(mode="after")
    def _grid(self) -> ScanConfig:
        if (self.step_sigma is None) == (self.masses is None):
            raise ValueError("give either step_sigma or masses")
        outside = [m for m in self.masses or [] if not self.range[0] <= m <= self.range[1]]
        if outside:
            raise ValueError(f"masses {outside} lie outside range {list(self.range)}")
        if self.ctau_cm is not None and len(set(self.ctau_cm)) < len(self.ctau_cm):
            raise ValueError(f"ctau_cm {self.ctau_cm} names a lifetime twice")
        return self

    @model_validator(mode="after")
    def _counts_have_no_shape(self) -> ScanConfig:
        if self.counting is None:
            if self.method == "marginal":
                raise ValueError("method 'marginal' is for counts; give counting: {}")
            return self
        for name in ("width", "scale_sigma", "spurious_signal"):
            if getattr(self.nuisances, name):
                raise ValueError(f"nuisances.{name} has no say where scan.counting counts; leave it out")
        if self.method in ("asymptotic", "exact"):
            raise ValueError(
                f"method {self.method!r} does not answer counts with uncertain backgrounds; say marginal,"
                " or auto for toys"
            )
        return self
