"""The expected limit of the full model as an objective: shapes, floating background, nuisances.

Each hypothesis is compiled once by the limit engine, in units of its own resolution; every cut or set of
categories then only scales the templates. Bins are fine under the peak and coarse where only the background
is measured, which leaves the expected limit within 0.3 % of bins of a sixth of the resolution everywhere, by
a factor that cuts have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.evaluation.counting import (
    checked_yields,
    expected_limits_floating,
    low_count_correction,
    sideband_ratio,
)
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import FORMAT, SearchModel
from darksieve.evaluation.limits.engine import FAILED, upper_limits
from darksieve.evaluation.limits.problem import ProblemBatch, Rows
from darksieve.evaluation.search_building import BackgroundChoice, Uncertainties

PeakParameters = Callable[[NDArray], Mapping[str, NDArray]]
Coefficients = Callable[[NDArray], NDArray]

_PEAK_BINS = 3  # per resolution within ±3, where the peak is
_TAIL_BINS = 2  # per resolution from 3 to 6
_SIDE_BINS = 8  # on each side beyond: a polynomial needs no more
_FEWEST = 1e-9  # expected events of a category that is empty
_NUMBERS_OF_A_PORTION = 4_000_000  # 32 MB of templates
_TAILS = ("alpha_left", "n_left", "alpha_right", "n_right")


@runtime_checkable
class MassDependent(Protocol):
    """An objective that differs between masses: ``at`` binds it to those of the second last axis."""

    def at(self, masses: NDArray) -> Callable[[NDArray, NDArray], NDArray]: ...


def objective_at(objective: Any, masses: ArrayLike) -> Callable[[NDArray, NDArray], NDArray]:
    """The objective for yields of shape (..., n_masses, n_categories)."""
    if isinstance(objective, MassDependent):
        return objective.at(np.asarray(masses, np.float64))
    function: Callable[[NDArray, NDArray], NDArray] = objective
    return function


def edges_in_resolutions(window_sigma: float, peak_sigma: float) -> NDArray[np.float64]:
    """Bin edges of one window in units of the resolution; ±peak_sigma are among them."""
    inner = min(6.0, 0.5 * window_sigma)
    fine = min(max(3.0, peak_sigma), inner)
    half = np.concatenate(
        [
            np.linspace(0, fine, round(_PEAK_BINS * fine) + 1),
            np.linspace(fine, inner, max(round(_TAIL_BINS * (inner - fine)), 1) + 1)[1:],
            np.linspace(inner, window_sigma, _SIDE_BINS + 1)[1:],
            [peak_sigma],
        ]
    )
    half = np.unique(np.round(half, 9))
    return np.concatenate([-half[:0:-1], half])


@dataclass(frozen=True, eq=False)
class FullLimit:
    """Median expected CLs limit of categories that are fitted together, by the limit engine.

    Yields are those within ±``peak_sigma`` resolutions, signal for unit strength. Every category has its own
    floating background and spurious signal; all other nuisances are common. Where few events are expected the
    asymptotic limit is corrected to the exact Poisson one (``low_count_correction``), as the limit tool does.

    Attributes:
        confidence_level: Of the CLs limit.
        background: Function that floats in every window.
        uncertainties: Sizes of the nuisances; ``spurious_signal`` is relative to the background within
            ±2 resolutions.
        peak_sigma: Half width of the counting window in resolutions.
        peak: Masses to shift, sigma (GeV) and tails of the peak (``SignalShape.parameters``); a Gaussian, the
            same at every mass, where absent.
        coefficients: Masses, shape (n,), to the coefficients of the background in their windows, as the
            search document has them; flat where absent.
        spurious: Masses, shape (n,), to sizes of the spurious signal there, in place of that of the
            ``uncertainties``: ``functools.partial(np.interp, xp=masses, fp=sizes)`` of measured ones.
    """

    confidence_level: float = 0.95
    background: BackgroundChoice = field(default_factory=BackgroundChoice)
    uncertainties: Uncertainties = field(default_factory=Uncertainties)
    peak_sigma: float = 2.0
    peak: PeakParameters | None = None
    coefficients: Coefficients | None = None
    spurious: Coefficients | None = None

    def at(self, masses: NDArray) -> BoundLimit:
        """The objective for yields of shape (..., n_masses, n_categories)."""
        return BoundLimit(self, np.atleast_1d(np.asarray(masses, np.float64)))

    def __call__(self, signal: ArrayLike, background: ArrayLike) -> NDArray[np.float64]:
        """Limits of yields of shape (..., n_categories) where all masses are alike.

        Raises:
            ValueError: If the peak or the background depends on the mass: use ``at``.
        """
        if self.peak is not None or self.coefficients is not None or self.spurious is not None:
            raise ValueError("this objective depends on the mass: bind it with at(masses)")
        s, b = checked_yields(signal, background)
        limits = self.at(np.zeros(1))(s[..., None, :], b[..., None, :])
        return limits[..., 0]

    def shortcut(self) -> Shortcut:
        """The same order of choices, hundreds of times faster: what the search for the optimum walks on."""
        return Shortcut(self)

    def spurious_at(self, masses: NDArray) -> NDArray[np.float64]:
        """Size of the spurious signal at masses, relative to the background, shape (n,)."""
        if self.spurious is None:
            return np.full(len(masses), self.uncertainties.spurious_signal)
        sizes = np.asarray(self.spurious(masses), np.float64)
        if not (np.isfinite(sizes).all() and (sizes >= 0).all()):
            raise ValueError(f"sizes of the spurious signal must be finite and >= 0, not {sizes}")
        return sizes

    @property
    def has_spurious(self) -> bool:
        """Whether there is a nuisance for it."""
        return self.spurious is not None or self.uncertainties.spurious_signal > 0


@dataclass(frozen=True, eq=False)
class Shortcut:
    """Counting within the peak window; the sidebands measure each category's background.

    Its spurious signal is an uncertainty of it. Nuisances that all categories share scale every limit alike.
    """

    model: FullLimit

    def at(self, masses: NDArray) -> Callable[[NDArray, NDArray], NDArray]:
        """The objective for yields of shape (..., n_masses, n_categories)."""
        sizes = self.model.spurious_at(np.atleast_1d(np.asarray(masses, np.float64)))
        return partial(self._limit, sizes[:, None])

    def __call__(self, signal: NDArray, background: NDArray) -> NDArray[np.float64]:
        """Limits of yields of shape (..., n_categories) where all masses are alike.

        Raises:
            ValueError: If the spurious signal depends on the mass: use ``at``.
        """
        if self.model.spurious is not None:
            raise ValueError("this objective depends on the mass: bind it with at(masses)")
        return self._limit(self.model.uncertainties.spurious_signal, signal, background)

    def _limit(self, spurious: float | NDArray, signal: NDArray, background: NDArray) -> NDArray[np.float64]:
        model = self.model
        ratio = sideband_ratio(model.background.window_sigma, model.peak_sigma, _order(model.background))
        s, b = checked_yields(signal, background)
        known = 1 / (1 / ratio + spurious**2 * b)
        limit = expected_limits_floating(s, b, model.confidence_level, ratio=known)
        return limit * low_count_correction(s, b, model.confidence_level)


class BoundLimit:
    """A ``FullLimit`` at given masses."""

    def __init__(self, model: FullLimit, masses: NDArray) -> None:
        self.model = model
        self.masses = masses
        self._base = _compile(model, masses)
        self._spurious = model.spurious_at(masses)
        rows, base = self._base.rows, self._base.structure
        n_bins = int(rows.start[0, 1] - rows.start[0, 0])
        self._columns = rows.columns.reshape(len(masses), -1, n_bins)  # (n_masses, n_templates, n_bins)
        edges = edges_in_resolutions(model.background.window_sigma, model.peak_sigma)
        inside = (edges[:-1] > -model.peak_sigma - 1e-6) & (edges[1:] < model.peak_sigma + 1e-6)
        self._signal_inside = self._columns[:, 0, inside].sum(axis=1)
        n_free = int(base.n_linear[0, 0]) + 2 * int(base.has_slope[0, 0])
        self._free = base.start[:, :n_free]
        expected = _expected_background(self._base, n_bins)
        self._background_inside = expected[:, inside].sum(axis=1)

    def __call__(self, signal: ArrayLike, background: ArrayLike) -> NDArray[np.float64]:
        """Limits of yields of shape (..., n_masses, n_categories): shape (..., n_masses).

        Raises:
            ValueError: If the second last axis is not that of the masses.
        """
        s, b = checked_yields(signal, background)
        if s.ndim < 2 or s.shape[-2] != len(self.masses):
            raise ValueError(f"yields of shape {s.shape} for {len(self.masses)} masses")
        n_categories = s.shape[-1]
        flat_s, flat_b = s.reshape(-1, n_categories), b.reshape(-1, n_categories)
        of_mass = np.tile(np.arange(len(self.masses)), flat_s.shape[0] // max(len(self.masses), 1))
        limits = np.full(len(flat_s), np.inf)
        todo = np.flatnonzero(flat_s.sum(axis=1) > 0)
        portion = max(_NUMBERS_OF_A_PORTION // (self._columns[0].size * n_categories), 1)
        for begin in range(0, len(todo), portion):
            some = todo[begin : begin + portion]
            limits[some] = self._solve(of_mass[some], flat_s[some], flat_b[some])
        limits *= low_count_correction(flat_s, flat_b, self.model.confidence_level)
        return limits.reshape(s.shape[:-1])

    def _solve(self, of_mass: NDArray, signal: NDArray, background: NDArray) -> NDArray[np.float64]:
        batch = self._batch(of_mass, signal, np.maximum(background, _FEWEST))
        found = upper_limits(
            batch,
            confidence_level=self.model.confidence_level,
            bands="median",
            observed=False,
            errors=False,
            precision=1e-5,
        )
        failed = np.array([status == FAILED for status in found.status])
        return np.where(failed, np.nan, found.expected[:, 0])

    def _batch(self, of_mass: NDArray, signal: NDArray, background: NDArray) -> ProblemBatch:
        n, n_categories = signal.shape
        base = self._base.structure
        templates = self._columns[of_mass]  # (n, n_templates, n_bins)
        n_templates, n_bins = templates.shape[1:]
        total = signal / self._signal_inside[of_mass, None]  # in the whole window
        n_morphs = base.morph_nuisance.size
        n_signal = 1 + n_morphs + n_morphs * (n_morphs + 1) // 2
        scale = np.ones((n, n_categories, n_templates))
        scale[:, :, :n_signal] = (total / total.sum(axis=1, keepdims=True))[:, :, None]
        columns = (templates[:, None] * scale[..., None]).ravel()
        n_rows = n * n_categories * n_bins
        blocks = np.arange(n * n_categories + 1) * n_bins
        start = np.lib.stride_tricks.sliding_window_view(blocks, n_categories + 1)[::n_categories]
        column_start = (np.arange(n * n_categories) * n_bins * n_templates).reshape(n, n_categories)
        of_rows = self._base.rows

        def tiled(values: NDArray) -> NDArray:
            if not values.size:
                return values
            own = values.reshape(len(self.masses), n_bins)[of_mass]
            return np.repeat(own[:, None], n_categories, axis=1).ravel()

        rows = Rows(
            start=start,
            column_start=column_start,
            columns=columns,
            counts=np.zeros(n_rows),
            exposure=np.ones(n_rows),
            slope_position=tiled(of_rows.slope_position),
            slope_width=tiled(of_rows.slope_width),
            slope_scale=tiled(of_rows.slope_scale),
            near_peak=tiled(of_rows.near_peak),
        )
        factor = background / self._background_inside[of_mass, None]
        n_free = self._free.shape[1]
        free = np.repeat(self._free[of_mass][:, None], n_categories, axis=1)  # (n, n_categories, n_free)
        n_scaled = 1 if base.has_slope[0, 0] else n_free  # β, but not the slope, counts events
        free[..., :n_scaled] *= factor[..., None]
        has_spurious = self.model.has_spurious
        n_common = base.auxiliary.shape[1] - has_spurious
        n_nuisances = n_common + (n_categories if has_spurious else 0)
        width = n_categories * n_free + 1 + n_nuisances
        parameters = np.zeros((n, width))
        parameters[:, : n_categories * n_free] = free.reshape(n, -1)

        def bounds(own: NDArray) -> NDArray:
            shared = own[n_free : n_free + 1 + n_common]
            own_nuisance = own[n_free + 1 + n_common :]
            row = np.concatenate(
                [np.tile(own[:n_free], n_categories), shared, np.repeat(own_nuisance, n_categories)]
            )
            return np.tile(row, (n, 1))

        yield_kind = np.zeros((n, n_categories, n_nuisances), np.int64)
        yield_size = np.zeros(yield_kind.shape)
        yield_kind[..., :n_common] = base.yield_kind[0, 0, :n_common]
        yield_size[..., :n_common] = base.yield_size[0, 0, :n_common]
        m = base.component_kind.shape[2]
        component_kind = np.zeros((n, n_categories, m, n_nuisances), np.int64)
        component_size = np.zeros(component_kind.shape)
        if has_spurious:
            spurious = self._spurious[of_mass]
            of_two_sigma = background * 2.0 / self.model.peak_sigma
            for c in range(n_categories):
                component_kind[:, c, 0, n_common + c] = base.component_kind[0, 0, 0, -1]
                component_size[:, c, 0, n_common + c] = spurious * of_two_sigma[:, c]
        structure = base._replace(
            n_linear=np.full((n, n_categories), base.n_linear[0, 0]),
            has_slope=np.full((n, n_categories), base.has_slope[0, 0]),
            n_components=np.full((n, n_categories), base.n_components[0, 0]),
            yield_kind=yield_kind,
            yield_size=yield_size,
            component_kind=component_kind,
            component_size=component_size,
            n_parameters=np.full(n, width),
            start=parameters,
            lower=bounds(base.lower[0]),
            upper=bounds(base.upper[0]),
            auxiliary=np.zeros((n, n_nuisances)),
        )
        return ProblemBatch(
            structure=structure,
            rows=rows,
            events=None,
            events_per_unit=total.sum(axis=1),
            blind=True,
            labels=("",) * n,
            masses=self.masses[of_mass],
        )


def _order(choice: BackgroundChoice) -> int:
    return 1 if choice.family in ("exponential", "power") else choice.order


def _compile(model: FullLimit, masses: NDArray) -> ProblemBatch:
    """One channel at every mass, in units of its resolution, with unit signal."""
    choice, sizes = model.background, model.uncertainties
    edges = edges_in_resolutions(choice.window_sigma, model.peak_sigma)
    # a power law falls as an exponential within a window: far from its own zero they are one
    family = "exponential" if choice.family == "power" else choice.family
    order = {} if family == "exponential" else {"order": choice.order}
    given = None if model.coefficients is None else np.asarray(model.coefficients(masses), np.float64)
    shape = None if model.peak is None else model.peak(masses)
    points = []
    for i in range(len(masses)):
        signal: dict[str, Any] = {"shape": "gaussian", "mean": 0.0, "sigma": 1.0}
        if shape is not None:
            signal["mean"] = float(shape["shift"][i] / shape["sigma"][i])
            signal |= {"shape": "double_sided_crystal_ball"} | {n: float(shape[n][i]) for n in _TAILS}
        signal |= {
            "window": [float(edges[0]), float(edges[-1])],
            "yield_per_unit": 1.0,
            "background": {
                "family": family,
                **order,
                "yield": 1.0,
                "coefficients": _coefficients(choice, given, i),
            },
        }
        if model.has_spurious:
            signal["spurious_signal"] = 1.0  # its size is that of each category
        points.append({"label": str(i), "mass": float(masses[i]), "channels": {"c": signal}})
    document = {
        "format": FORMAT,
        "channels": [{"name": "c", "data": {"edges": edges.tolist()}}],
        "points": points,
        "nuisances": _common_nuisances(sizes),
    }
    return compile_search(SearchModel.parse(document, source="full limit"))


def _coefficients(choice: BackgroundChoice, given: NDArray | None, i: int) -> list[float]:
    if given is not None:
        own: list[float] = given[i].tolist()
        return own
    if choice.family == "bernstein":
        return [1.0] * (choice.order + 1)
    return [0.0] * _order(choice)


def _common_nuisances(sizes: Uncertainties) -> list[dict[str, Any]]:
    """Nuisances of all categories; log-normal ones on the yield are one, of the quadratic sum."""
    entries: list[dict[str, Any]] = []
    on_yield = float(np.hypot(np.log1p(sizes.luminosity), np.log1p(sizes.efficiency)))
    if on_yield > 0:
        entries.append(
            {"name": "yield", "on": "yield", "kind": "log_normal", "size": float(np.expm1(on_yield))}
        )
    if sizes.width > 0:
        entries.append({"name": "width", "on": "sigma", "kind": "linear", "size": sizes.width})
    if sizes.scale_sigma > 0:
        entries.append({"name": "scale", "on": "mean", "kind": "linear", "size_sigma": sizes.scale_sigma})
    return entries


def _expected_background(base: ProblemBatch, n_bins: int) -> NDArray[np.float64]:
    """Background of unit yield by bin, shape (n_masses, n_bins)."""
    n = base.n_problems
    structure, rows = base.structure, base.rows
    if structure.has_slope[0, 0]:
        middle, width = (v.reshape(n, n_bins) for v in (rows.slope_position, rows.slope_width))
        half = 0.5 * structure.start[:, 1:2] * width
        growth = np.where(np.abs(half) > 1e-6, np.sinh(half) / np.where(half == 0, 1, half), 1.0)
        shape = width * np.exp(structure.start[:, 1:2] * middle) * growth
        return shape / shape.sum(axis=1, keepdims=True) * structure.start[:, :1]
    k = int(structure.n_linear[0, 0])
    basis = rows.columns.reshape(n, -1, n_bins)[:, -k:]
    return np.einsum("nk,nkb->nb", structure.start[:, :k], basis)
