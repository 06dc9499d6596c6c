"""What the hypotheses of a search document are made of: peaks, background families and signals."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from darksieve.evaluation.limits.faults import fault
from darksieve.evaluation.limits.parts import (
    Interval,
    NonNegative,
    NonNegatives,
    Part,
    Positive,
    Real,
    Reals,
    check_histogram,
    check_interval,
)


class _Gaussian(Part):
    shape: Literal["gaussian"]
    mean: Real
    sigma: Positive


class _CrystalBall(Part):
    shape: Literal["double_sided_crystal_ball"]
    mean: Real
    sigma: Positive
    alpha_left: Positive
    n_left: Positive
    alpha_right: Positive
    n_right: Positive


class _Template(Part):
    shape: Literal["template"]
    edges: Reals
    values: Reals
    mean: Real | None = None
    sigma: Positive | None = None

    @model_validator(mode="after")
    def _check_template(self) -> Self:
        check_histogram(self.edges, self.values, "values")
        negative = [i for i, value in enumerate(self.values) if value < 0]
        if negative:
            i = negative[0]
            raise fault(
                f"negative bin {self.values[i]!r} in a template; merge bins, or use simulation without "
                "negative weights",
                "values",
                i,
            )
        if sum(self.values) <= 0:
            raise fault("every bin of the template is zero; leave the component out", "values")
        return self


class PeakingGaussian(_Gaussian):
    """A Gaussian peak of known shape in the background."""

    name: str
    yield_: NonNegative = Field(alias="yield")
    uncertainty: NonNegative = 0.0
    sizes: dict[str, Real] = Field(default_factory=dict)


class PeakingCrystalBall(_CrystalBall):
    """A double-sided Crystal Ball peak of known shape in the background."""

    name: str
    yield_: NonNegative = Field(alias="yield")
    uncertainty: NonNegative = 0.0
    sizes: dict[str, Real] = Field(default_factory=dict)


class PeakingTemplate(_Template):
    """A peak of known shape in the background, as a histogram; ``values`` are relative."""

    name: str
    yield_: NonNegative = Field(alias="yield")
    uncertainty: NonNegative = 0.0
    sizes: dict[str, Real] = Field(default_factory=dict)


Peaking = Annotated[PeakingGaussian | PeakingCrystalBall | PeakingTemplate, Field(discriminator="shape")]


class Fitted(Part):
    """What the families that are fitted to the data share."""

    yield_: NonNegative | None = Field(default=None, alias="yield")
    coefficients: Reals | None = None
    peaking: tuple[Peaking, ...] = ()

    def _check_coefficients(self, n_coefficients: int) -> None:
        if self.coefficients is not None and len(self.coefficients) != n_coefficients:
            raise fault(
                f"{len(self.coefficients)} coefficients; this family takes {n_coefficients}", "coefficients"
            )


class OneSlopeBackground(Fitted):
    """Exponential, density ∝ exp(c x), or power law, density ∝ x^c: one coefficient c, fitted with the yield.

    Without data ``yield`` (events in the window's kept bins) and ``coefficients`` = [c] give the expectation.
    """

    family: Literal["exponential", "power"]

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients beside the yield."""
        return 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_coefficients(1)
        return self


class PolynomialBackground(Fitted):
    """Polynomial on the window, which is mapped to u in [−1, 1]; all its coefficients are fitted.

    ``chebyshev``: density ∝ 1 + Σ_{j=1..order} c_j T_j(u), ``coefficients`` = [c_1 … c_order].
    ``bernstein``: density ∝ Σ_{j=0..order} c_j B_{j,order}((u+1)/2), ``coefficients`` = [c_0 … c_order] ≥ 0,
    of which only the ratios matter. ``yield`` is the number of events in the window's kept bins.
    """

    family: Literal["chebyshev", "bernstein"]
    order: Annotated[int, Field(strict=True, ge=0, le=12)]

    @property
    def n_coefficients(self) -> int:
        """Number of entries of ``coefficients``."""
        return self.order + (self.family == "bernstein")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_coefficients(self.n_coefficients)
        if self.coefficients is None:
            return self
        if self.family == "bernstein":
            if min(self.coefficients) < 0 or max(self.coefficients) <= 0:
                raise fault("Bernstein coefficients must be ≥ 0, and one of them > 0", "coefficients")
        else:
            u = np.linspace(-1, 1, 401)
            density = np.polynomial.chebyshev.chebval(u, [1.0, *self.coefficients])
            if density.min() < 0:
                raise fault(
                    f"the density is negative at u = {u[density.argmin()]:.3f}, u = -1 to 1 over the window",
                    "coefficients",
                )
        return self


class TemplateBackground(Part):
    """A histogram of expected background events.

    ``uncertainty``: relative, of its normalisation, with a log-normal constraint; 0 (the default) keeps it as
    given, ``"free"`` fits the normalisation.
    """

    family: Literal["template"]
    edges: Reals
    values: NonNegatives
    uncertainty: NonNegative | Literal["free"] = 0.0
    peaking: tuple[Peaking, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_histogram(self.edges, self.values, "values")
        return self


class KnownBackground(Part):
    """Expected background events of a counting channel, with an absolute uncertainty and its constraint."""

    family: Literal["known"]
    yield_: NonNegative = Field(alias="yield")
    uncertainty: NonNegative = 0.0
    constraint: Literal["gamma", "gaussian", "log_normal"] = "gamma"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.uncertainty > 0 and self.yield_ == 0:
            raise fault("uncertainty of a background of zero: give its expected yield", "uncertainty")
        return self


Background = Annotated[
    OneSlopeBackground | PolynomialBackground | TemplateBackground | KnownBackground,
    Field(discriminator="family"),
]
FittedBackground = OneSlopeBackground | PolynomialBackground


def _backgrounds_tag(data: Any) -> str:
    return "several" if isinstance(data, (list, tuple)) else "one"


Backgrounds = Annotated[
    Annotated[Background, Tag("one")] | Annotated[tuple[Background, ...], Tag("several")],
    Discriminator(_backgrounds_tag),
]


class _Signal(Part):
    yield_per_unit: NonNegative
    background: Backgrounds | None = None
    spurious_signal: NonNegative = 0.0
    sizes: dict[str, Real] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_spurious(self) -> Self:
        if self.spurious_signal > 0 and not self.yield_per_unit > 0:
            raise fault(
                "a spurious signal where no signal is expected; leave it out, or give a 'yield_per_unit'",
                "spurious_signal",
            )
        return self


class _WindowedSignal(_Signal):
    window: Interval
    exclude: tuple[Interval, ...] = ()

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        check_interval(self.window, "window")
        for i, interval in enumerate(self.exclude):
            check_interval(interval, "exclude", i)
        return self


class GaussianSignal(_WindowedSignal, _Gaussian):
    """A Gaussian signal."""


class CrystalBallSignal(_WindowedSignal, _CrystalBall):
    """A double-sided Crystal Ball signal."""


class TemplateSignal(_WindowedSignal, _Template):
    """A signal given as a histogram, normalised inside the window.

    ``mean`` and ``sigma``, which nuisances and the ±2σ rule need, default to the template's own.
    """

    @model_validator(mode="after")
    def _check_overlap(self) -> Self:
        edges = np.asarray(self.edges)
        inside = (edges[1:] > self.window[0]) & (edges[:-1] < self.window[1])
        if not np.asarray(self.values)[inside].sum() > 0:
            raise fault(f"the template is zero everywhere in the window {list(self.window)}", "values")
        return self

    @property
    def mean_and_sigma(self) -> tuple[float, float]:
        """The stated mean and resolution, or those of the histogram."""
        edges, values = np.asarray(self.edges), np.asarray(self.values)
        middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        mean = float(np.average(middles, weights=values))
        variance = float(np.average((middles - mean) ** 2 + widths**2 / 12, weights=values))
        return (self.mean if self.mean is not None else mean, self.sigma or math.sqrt(variance))


class CountingSignal(_Signal):
    """A counting signal: only the number of events; ``window`` counts unbinned or binned data."""

    window: Interval | None = None

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.window is not None:
            check_interval(self.window, "window")
        return self


def _signal_tag(data: Any) -> str | None:
    if isinstance(data, dict):
        if "shape" not in data:
            return None if {"mean", "sigma", "edges", "values"} & set(data) else "counting"
        return data["shape"] if isinstance(data["shape"], str) else "?"
    return getattr(data, "shape", "counting")


Signal = Annotated[
    Annotated[GaussianSignal, Tag("gaussian")]
    | Annotated[CrystalBallSignal, Tag("double_sided_crystal_ball")]
    | Annotated[TemplateSignal, Tag("template")]
    | Annotated[CountingSignal, Tag("counting")],
    Discriminator(_signal_tag),
]
