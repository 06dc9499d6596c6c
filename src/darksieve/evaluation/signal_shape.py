"""The signal's shape: double-sided Crystal Ball fits to simulation, with parameters smooth in mass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.weights import effective_events
from darksieve.errors import InputError, nearest
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.crystal_ball_fit import FIT_SIGMA, FITTED, ShapeFit, fit_residuals
from darksieve.evaluation.smoothing import SmoothCurve, smooth_points

Position = Literal["mass", "mass_squared"]

MINIMUM_EVENTS = (
    60  # effective events of one fit: fewer do not fix six parameters even with the weak constraints
)
EVENTS_PER_FIT = 1500
MAXIMUM_FITS = 32


def position_of(observable: str) -> Position:
    """How a peak in this observable moves with the mass: M2_… goes with its square, others with the mass."""
    return "mass_squared" if observable.startswith("M2_") else "mass"


def peak_position(masses: ArrayLike, position: Position) -> NDArray[np.float64]:
    """Where a perfect detector would put the peak, in the unit of the observable."""
    masses = np.asarray(masses, float)
    return masses**2 if position == "mass_squared" else masses


def peak_slope(masses: ArrayLike, position: Position) -> NDArray[np.float64]:
    """How fast the peak moves with the mass: turns mass differences into differences of the observable."""
    masses = np.asarray(masses, float)
    return 2 * masses if position == "mass_squared" else np.ones_like(masses)


@dataclass(frozen=True)
class ShapeClosure:
    """Share of the simulated signal within ±2 sigma of the smooth shape, over what the shape says."""

    mass: float
    ratio: float
    error: float


@dataclass(frozen=True, eq=False)
class SignalShape:
    """The signal's Crystal Ball as a function of its mass.

    Attributes:
        position: How the peak moves with the mass.
        mass_range: Lowest and highest simulated mass, GeV.
        curves: Smooth curves of shift (GeV), and of the logarithms of sigma, the alphas and n - 1.
        contained: Smooth share of the signal within FIT_SIGMA sigma of the mean.
        fits: The fits that the curves run through.
        closure: The check of the smooth shape against the events it came from.
        flags: What the reader should know: pooled fits, failures, closure that is off.
    """

    position: Position
    mass_range: tuple[float, float]
    curves: Mapping[str, SmoothCurve]
    contained: SmoothCurve
    fits: tuple[ShapeFit, ...]
    closure: tuple[ShapeClosure, ...]
    flags: tuple[str, ...]

    def parameters(self, masses: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Shift and sigma in GeV of mass, and the four tail parameters, each in the shape of ``masses``."""
        out = {"shift": self.curves["shift"](masses)}
        for name in FITTED[1:]:
            out[name] = np.exp(self.curves[name](masses)) + (1.0 if name.startswith("n_") else 0.0)
        return out

    def sigma(self, masses: ArrayLike) -> NDArray[np.float64]:
        """Core width in GeV of mass: the unit of the mass grid, of binnings and of windows."""
        return np.exp(self.curves["sigma"](masses))

    def at(self, masses: ArrayLike) -> CrystalBall:
        """The shape at these masses, in the unit of the observable."""
        masses = np.asarray(masses, float)
        p = self.parameters(masses)
        slope = peak_slope(masses, self.position)
        return CrystalBall(
            peak_position(masses, self.position) + slope * p["shift"],
            slope * p["sigma"],
            p["alpha_left"],
            p["n_left"],
            p["alpha_right"],
            p["n_right"],
        )

    def fraction_between(self, masses: ArrayLike, low: ArrayLike, high: ArrayLike) -> NDArray[np.float64]:
        """Share of all selected signal whose observable is between low and high.

        The shape is trusted inside the fitted interval only, so its integral is taken relative to that
        interval and multiplied with the share that the simulation has there.
        """
        shape = self.at(masses)
        reach = FIT_SIGMA * np.asarray(shape.sigma)
        inner_low = np.maximum(low, shape.mean - reach)
        inner_high = np.minimum(high, shape.mean + reach)
        inside = np.maximum(shape.cdf(inner_high) - shape.cdf(inner_low), 0)
        interval = shape.cdf(shape.mean + reach) - shape.cdf(shape.mean - reach)
        return np.clip(self.contained(masses), 0, 1) * inside / interval

    def as_dict(self) -> dict[str, Any]:
        """The shape as JSON-ready numbers."""
        return {
            "position": self.position,
            "mass_range": list(self.mass_range),
            "curves": {name: curve.as_dict() for name, curve in self.curves.items()},
            "contained": self.contained.as_dict(),
            "fits": [asdict(fit) for fit in self.fits],
            "closure": [asdict(check) for check in self.closure],
            "flags": list(self.flags),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> SignalShape:
        """The inverse of ``as_dict``."""
        return cls(
            position=entry["position"],
            mass_range=(float(entry["mass_range"][0]), float(entry["mass_range"][1])),
            curves={name: SmoothCurve.from_dict(curve) for name, curve in entry["curves"].items()},
            contained=SmoothCurve.from_dict(entry["contained"]),
            fits=tuple(ShapeFit(**fit) for fit in entry["fits"]),
            closure=tuple(ShapeClosure(**check) for check in entry["closure"]),
            flags=tuple(entry["flags"]),
        )


def fit_signal_shape(
    observable: ArrayLike,
    mass: ArrayLike,
    weight: ArrayLike,
    *,
    position: Position = "mass",
    events_per_fit: int = EVENTS_PER_FIT,
    maximum_fits: int = MAXIMUM_FITS,
    name: str = "signal",
) -> SignalShape:
    """Fit the signal in bins of its generated mass, or at its discrete masses, and join the fits smoothly.

    Args:
        observable: Reconstructed observable of the true signal candidates, shape (n,).
        mass: Their generated masses in GeV, shape (n,).
        weight: Their weights, >= 0, shape (n,); only relative sizes matter.
        position: How the peak moves with the mass (see ``position_of``).
        events_per_fit: Effective events that one fit should have; scarcer samples are pooled over masses.
        maximum_fits: Most fits over the whole range.
        name: What messages call this signal.

    Raises:
        InputError: If there are fewer than MINIMUM_EVENTS effective events, non-finite numbers, negative
            weights, an unknown position, a mass that is not positive for a squared observable, or no fit
            converges.
    """
    if position not in get_args(Position):
        known = get_args(Position)
        raise InputError(
            f"{name}: unknown peak position {position!r}{nearest(position, known)}; known: {', '.join(known)}"
        )
    observable, mass, weight = (np.asarray(values, float) for values in (observable, mass, weight))
    for what, values in (("observable", observable), ("mass", mass), ("weight", weight)):
        if not np.isfinite(values).all():
            raise InputError(
                f"{name}: {np.sum(~np.isfinite(values))} signal candidates have a {what} that is not finite"
            )
    if (weight < 0).any():
        raise InputError(f"{name}: {np.sum(weight < 0)} signal candidates have a negative weight")
    if position == "mass_squared" and (mass <= 0).any():
        raise InputError(f"{name}: a squared observable needs generated masses above zero")
    used = weight > 0
    observable, mass, weight = observable[used], mass[used], weight[used]
    n_effective = effective_events(weight)
    if n_effective < MINIMUM_EVENTS:
        raise InputError(
            f"{name}: {n_effective:.0f} effective signal candidates are too few for a shape fit"
            f" (it needs {MINIMUM_EVENTS}); simulate more signal, or share the shape between categories"
        )
    # in mass units the residual has nearly one width over a mass bin, also for an observable that is squared
    residual = (observable - peak_position(mass, position)) / peak_slope(mass, position)
    group, flags = _mass_groups(mass, weight, events_per_fit, maximum_fits, name)
    fits = []
    for g in range(group.max() + 1):
        rows = group == g
        fits.append(fit_residuals(residual[rows], mass[rows], weight[rows]))
    good = [fit for fit in fits if fit.status == "converged"]
    if not good:
        raise InputError(
            f"{name}: none of the {len(fits)} shape fits converged; look at the residuals of the signal"
        )
    flags += [
        f"{name}: shape fit at {fit.mass:.3f} GeV failed; not used" for fit in fits if fit.status == "failed"
    ]

    at = np.array([fit.mass for fit in good])
    tails = {n: _smooth_parameter(at, good, n) for n in FITTED[2:]}
    # the core once more with the tails on their curves: the correlation with the tails' noise is gone
    refits = []
    for fit in good:
        rows = group == fits.index(fit)
        fixed = {n: float(curve(fit.mass)) for n, curve in tails.items()}
        refits.append(fit_residuals(residual[rows], mass[rows], weight[rows], fixed_tails=fixed))
    refits = [again if again.status == "converged" else fit for again, fit in zip(refits, good, strict=True)]
    curves = {n: _smooth_parameter(at, refits, n) for n in FITTED[:2]} | tails
    contained = smooth_points(at, [f.contained for f in good], [f.contained_error for f in good])
    shape = SignalShape(
        position=position,
        mass_range=(float(mass.min()), float(mass.max())),
        curves=curves,
        contained=contained,
        fits=tuple(fits),
        closure=(),
        flags=(),
    )
    closure = _close(shape, observable, mass, weight, group)
    for check in closure:
        if abs(check.ratio - 1) > max(0.02, 4 * check.error):
            value = f"{check.ratio:.3f}±{check.error:.3f}"
            flags.append(f"{name}: closure within ±2 sigma at {check.mass:.3f} GeV is {value}")
    return SignalShape(position, shape.mass_range, curves, contained, tuple(fits), closure, tuple(flags))


def fit_signal_shapes(
    observable: ArrayLike,
    mass: ArrayLike,
    weight: ArrayLike,
    category: ArrayLike,
    categories: Sequence[int],
    *,
    position: Position = "mass",
    events_per_fit: int = EVENTS_PER_FIT,
    maximum_fits: int = MAXIMUM_FITS,
    minimum_events: int = 10 * MINIMUM_EVENTS,
    name: str = "signal",
) -> dict[int, SignalShape]:
    """A shape for each category; a category with too few signal candidates shares the shape of all together.

    Args:
        observable, mass, weight: As in ``fit_signal_shape``.
        category: Category of each candidate, 0 for rejected ones, which are not used, shape (n,).
        categories: The categories that need a shape.
        position, events_per_fit, maximum_fits, name: As in ``fit_signal_shape``.
        minimum_events: Effective candidates from which a category has a shape of its own.

    Raises:
        InputError: As ``fit_signal_shape``, if even all categories together are too few.
    """
    observable, mass, weight = (np.asarray(values, float) for values in (observable, mass, weight))
    category = np.asarray(category)
    shapes: dict[int, SignalShape] = {}
    scarce = []
    for c in categories:
        rows = category == c
        if effective_events(weight[rows]) < minimum_events:
            scarce.append(c)
            continue
        shapes[c] = fit_signal_shape(
            observable[rows],
            mass[rows],
            weight[rows],
            position=position,
            events_per_fit=events_per_fit,
            maximum_fits=maximum_fits,
            name=f"{name}, category {c}",
        )
    if scarce:
        rows = np.isin(category, list(categories))
        common = fit_signal_shape(
            observable[rows],
            mass[rows],
            weight[rows],
            position=position,
            events_per_fit=events_per_fit,
            maximum_fits=maximum_fits,
            name=f"{name}, all categories",
        )
        for c in scarce:
            flag = f"{name}, category {c}: fewer than {minimum_events} effective candidates; common shape"
            shapes[c] = SignalShape(
                common.position,
                common.mass_range,
                common.curves,
                common.contained,
                common.fits,
                common.closure,
                (*common.flags, flag),
            )
    return {c: shapes[c] for c in categories}


def _mass_groups(
    mass: NDArray, weight: NDArray, events_per_fit: int, maximum_fits: int, name: str
) -> tuple[NDArray[np.int64], list[str]]:
    """Group of each event: discrete masses, neighbours pooled where scarce, or bins of a flat sample."""
    flags: list[str] = []
    values, which = np.unique(mass, return_inverse=True)
    discrete = len(values) <= max(1, len(mass) // 20)
    if not discrete:
        n_groups = int(np.clip(effective_events(weight) // events_per_fit, 1, maximum_fits))
        if n_groups < 8:
            flags.append(f"{name}: few events: {n_groups} shape fits over the whole mass range")
        edges = np.quantile(mass, np.linspace(0, 1, n_groups + 1)[1:-1])
        return np.searchsorted(edges, mass, side="right"), flags
    per_mass = np.array([effective_events(weight[which == i]) for i in range(len(values))])
    group_of_value = np.zeros(len(values), np.int64)
    wanted = min(events_per_fit, max(MINIMUM_EVENTS, per_mass.sum() / maximum_fits))
    group, filled = 0, 0.0
    for i, n in enumerate(per_mass):
        if filled >= wanted:
            group, filled = group + 1, 0.0
        group_of_value[i] = group
        filled += n
    if filled < wanted and group > 0:  # the last masses are too few for a fit of their own
        group_of_value[group_of_value == group] = group - 1
    n_groups = int(group_of_value.max()) + 1
    if n_groups < len(values):
        flags.append(f"{name}: few events: {len(values)} simulated masses pooled into {n_groups} shape fits")
    return group_of_value[which], flags


def _smooth_parameter(at: NDArray, fits: Sequence[ShapeFit], name: str) -> SmoothCurve:
    """The smooth curve of one parameter: of the shift itself, of the logarithm of the others (of n - 1)."""
    values = np.array([fit.parameters[name] for fit in fits])
    if name.startswith("n_"):
        values = values - 1
    if name != "shift":
        values = np.log(values)
    errors = np.array([fit.errors[name] for fit in fits])
    n_intervals = int(np.clip(len(at), 2, 20))
    return smooth_points(at, values, errors, n_intervals=n_intervals)


def _close(
    shape: SignalShape, observable: NDArray, mass: NDArray, weight: NDArray, group: NDArray
) -> tuple[ShapeClosure, ...]:
    at = shape.at(mass)
    inside = np.abs(observable - at.mean) < 2 * np.asarray(at.sigma)
    expected = shape.fraction_between(
        mass, at.mean - 2 * np.asarray(at.sigma), at.mean + 2 * np.asarray(at.sigma)
    )
    checks = []
    for g in range(group.max() + 1):
        rows = group == g
        seen = np.average(inside[rows], weights=weight[rows])
        said = np.average(expected[rows], weights=weight[rows])
        error = np.sqrt(max(seen * (1 - seen), 1e-6) / effective_events(weight[rows]))
        checks.append(
            ShapeClosure(
                float(np.average(mass[rows], weights=weight[rows])), float(seen / said), float(error / said)
            )
        )
    return tuple(checks)
