"""Working points: score boundaries that are smooth in mass, what they reach, and how they are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from darksieve.atomic import write_json
from darksieve.datasets.folds import fold_of
from darksieve.errors import InputError, nearest
from darksieve.evaluation.categories import choose_quantiles
from darksieve.evaluation.ceiling import fine_table, node_masses, score_ceiling
from darksieve.evaluation.objectives import Objective, make_objective
from darksieve.evaluation.quantiles import fit_signal_quantiles
from darksieve.evaluation.quoting import (
    Figures,
    Resolution,
    ScoredCandidates,
    as_resolution,
    count,
    efficiency_of_all,
    make_figures,
    mean_optimism_of,
    part_of_scores,
    quoted_fine_table,
)

FORMAT = "darksieve-working-points/1"
_FOLD_SALT = 7771  # folds within the part that chooses, independent of the training's
Kind = Literal["categories", "threshold"]
_BY_CATEGORY = ("signal_efficiency", "n_background", "effective_events", "pooled_effective_events")
_BY_MASS = ("expected_limit", "percent_of_ceiling", "optimism", "objective_value", "expected_limit_no_cut")
_WITH_ERROR = ("signal_efficiency", "n_background", "expected_limit", "percent_of_ceiling", "optimism")


class _Boundaries:
    """Score edges as functions of the observable: a dense table of monotone cubic curves, fast to look up."""

    def __init__(self, grid: NDArray, boundaries: NDArray) -> None:
        self.observable, self.edges = grid, boundaries
        if len(grid) > 1:
            self.observable = np.linspace(grid[0], grid[-1], max(8 * len(grid), 2001))
            curves = PchipInterpolator(grid, boundaries, axis=0)(self.observable)
            self.edges = np.maximum.accumulate(curves, axis=1)

    def at(self, observable: ArrayLike) -> NDArray[np.float64]:
        observable = np.asarray(observable, np.float64)
        return np.stack([np.interp(observable, self.observable, edge) for edge in self.edges.T], axis=-1)

    def category(self, observable: ArrayLike, score: ArrayLike) -> NDArray[np.int8]:
        observable, score = np.asarray(observable, np.float64), np.asarray(score)
        out = np.zeros(len(score), np.int8)
        with np.errstate(invalid="ignore"):
            for edge in self.edges.T:
                out += score >= np.interp(observable, self.observable, edge)
        return out


@dataclass(frozen=True, eq=False)
class WorkingPoints:
    """Score boundaries by mass: where candidates are rejected, and how the others are divided.

    Attributes:
        kind: "categories" (fitted together) or "threshold" (a single cut).
        n_categories: Categories that are kept; 1 for a threshold.
        mass_grid: Values of the observable (GeV) at which boundaries are tabulated, increasing, shape
            (n_grid,).
        boundaries: Lower score edges, increasing along the second axis, shape (n_grid, n_categories).
        figures: What they reach at each mass of the scan.
        channel: Name of the channel.
        objective: What was minimised.
        confidence_level: Of the expected limits.
        luminosity_fb: Integrated luminosity; with it limits are cross sections in fb, else events produced.
        peak_sigma: Half width of the counting window in resolutions.
        choice: How the choice was made: freedom in mass and its cross-validation, sizes, ceiling's bias.
    """

    kind: Kind
    n_categories: int
    mass_grid: NDArray[np.float64]
    boundaries: NDArray[np.float64]
    figures: Figures
    channel: str = ""
    objective: str = "expected_limit"
    confidence_level: float = 0.95
    luminosity_fb: float | None = None
    peak_sigma: float = 2.0
    choice: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        grid = np.array(self.mass_grid, np.float64)
        boundaries = np.array(self.boundaries, np.float64)
        if boundaries.shape != (len(grid), self.n_categories):
            raise ValueError(f"boundaries of shape {boundaries.shape} for {(len(grid), self.n_categories)}")
        if not (np.isfinite(grid).all() and np.isfinite(boundaries).all()):
            raise ValueError("boundaries and their masses must be finite")
        if (np.diff(grid) <= 0).any() or (np.diff(boundaries, axis=1) < 0).any():
            raise ValueError(
                "the mass grid must increase, and boundaries must not decrease between categories"
            )
        for name, values in (("mass_grid", grid), ("boundaries", boundaries)):
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        object.__setattr__(self, "_curves", _Boundaries(grid, boundaries))

    def boundaries_at(self, observable: ArrayLike) -> NDArray[np.float64]:
        """Lower score edges at any observable, shape (n, n_categories); constant beyond the grid."""
        return self._curves.at(observable)  # type: ignore[attr-defined]

    def category(self, observable: ArrayLike, score: ArrayLike) -> NDArray[np.int8]:
        """Category of each candidate: 0 rejected, 1 … n_categories with growing purity, shape (n,).

        Args:
            observable: The candidate's own value, GeV, shape (n,).
            score: Shape (n,); a NaN score, or a NaN observable, is rejected.
        """
        return self._curves.category(observable, score)  # type: ignore[attr-defined]

    def as_document(self) -> dict[str, Any]:
        """The JSON document: boundaries, and one entry of ``points`` for each mass and category."""
        f = self.figures
        at = self.boundaries_at(f.masses)
        points = []
        for i, mass in enumerate(f.masses):
            for j in range(self.n_categories):
                point: dict[str, Any] = {
                    "mass": float(mass),
                    "channel": self.channel,
                    "category": j + 1,
                    "score_low": float(at[i, j]),
                    "score_high": float(at[i, j + 1]) if j + 1 < self.n_categories else None,
                }
                for name in _BY_CATEGORY:
                    point[name] = _number(getattr(f, name)[i, j])
                    if name in f.errors:
                        point[f"{name}_error"] = _number(f.errors[name][i, j])
                for name in _BY_MASS:
                    point[name] = _number(getattr(f, name)[i])
                    if name in f.errors:
                        point[f"{name}_error"] = _number(f.errors[name][i])
                point["status"] = str(f.status[i, j])
                points.append(point)
        return {
            "format": FORMAT,
            "kind": self.kind,
            "n_categories": self.n_categories,
            "channel": self.channel,
            "objective": self.objective,
            "confidence_level": self.confidence_level,
            "luminosity_fb": self.luminosity_fb,
            "expected_limit_unit": "events produced" if self.luminosity_fb is None else "fb",
            "peak_sigma": self.peak_sigma,
            "boundaries": {"mass": self.mass_grid.tolist(), "score": self.boundaries.tolist()},
            "choice": self.choice,
            "points": points,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any], place: str = "working points") -> WorkingPoints:
        """The inverse of ``as_document``.

        Raises:
            InputError: If the document is of another format or lacks something.
        """
        if document.get("format") != FORMAT:
            raise InputError(f"{place}: format is {document.get('format')!r}, not {FORMAT!r}")
        try:
            n = int(document["n_categories"])
            points = document["points"]
            shape = (len(points) // n, n)
            by_category = {
                name: np.array([_value(p[name]) for p in points]).reshape(shape) for name in _BY_CATEGORY
            }
            by_mass = {name: np.array([_value(p[name]) for p in points[::n]]) for name in _BY_MASS}
            errors = {}
            for name in _WITH_ERROR:
                if points and f"{name}_error" in points[0]:
                    rows = points if name in _BY_CATEGORY else points[::n]
                    values = np.array([_value(p[f"{name}_error"]) for p in rows])
                    errors[name] = values.reshape(shape) if name in _BY_CATEGORY else values
            figures = Figures(
                masses=np.array([p["mass"] for p in points[::n]], float),
                status=np.array([p["status"] for p in points]).reshape(shape),
                errors=errors,
                **by_category,
                **by_mass,
            )
            return cls(
                kind=document["kind"],
                n_categories=n,
                mass_grid=np.array(document["boundaries"]["mass"]),
                boundaries=np.array(document["boundaries"]["score"]),
                figures=figures,
                channel=document["channel"],
                objective=document["objective"],
                confidence_level=document["confidence_level"],
                luminosity_fb=document["luminosity_fb"],
                peak_sigma=document["peak_sigma"],
                choice=document["choice"],
            )
        except KeyError as error:
            raise InputError(
                f"{place}: key {error.args[0]!r} is missing{nearest(str(error.args[0]), document)}"
            ) from None
        except (TypeError, ValueError) as error:
            raise InputError(f"{place}: not working points: {error}") from None

    def save(self, path: Path | str) -> None:
        """Write the JSON document, atomically."""
        write_json(path, self.as_document())

    @classmethod
    def load(cls, path: Path | str) -> WorkingPoints:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is absent or is not a document of working points.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file of working points") from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON: {error}") from None
        if not isinstance(document, dict):
            raise InputError(f"{path}: not a document of working points")
        return cls.from_document(document, str(path))


def choose_working_points(
    scores: ScoredCandidates,
    masses: ArrayLike,
    resolution: Resolution | ArrayLike,
    *,
    objective: str | Objective = "expected_limit",
    kind: Kind = "categories",
    n_categories: int = 4,
    equal_categories: bool = False,
    luminosity_fb: float | None = None,
    confidence_level: float = 0.95,
    mass_range: tuple[float, float] | None = None,
    channel: str = "",
    peak_sigma: float = 2.0,
    window_sigma: float = 20.0,
    background_order: int = 3,
    min_effective_events: float = 400.0,
    n_fine_bins: int = 120,
    n_bootstrap: int = 40,
    seed: int = 0,
) -> WorkingPoints:
    """Score categories, or one threshold, that minimise an objective and are smooth in mass.

    Boundaries are curves of constant signal efficiency, whose efficiencies are splines in mass with the
    freedom that cross-validation allows. They are chosen on the candidates of part "choose" and every
    figure is quoted on those of part "quote"; errors are from a bootstrap by event.

    Args:
        scores: Signal rows (label 1; true pairs; weights that sum to absolute efficiencies, see ``Events``),
            background rows (label 0; weights in expected data events), other rows are left out.
            ``observable`` in GeV peaks at the mass.
        masses: Masses of the scan, GeV, increasing.
        resolution: Resolution in GeV as a function of mass, or an array at the masses.
        objective: Name from ``objectives.OBJECTIVES``, or a function (signal, background) -> what to
            minimise.
        kind: "categories" or "threshold".
        n_categories: 1 to 10; ignored for a threshold.
        equal_categories: Categories of equal signal, of which only the total is optimised.
        luminosity_fb: Turns limits on events produced into cross sections in fb.
        confidence_level: Of the expected limits.
        mass_range: Range of a flat signal sample; that of its rows where absent.
        channel: Name of the channel.
        peak_sigma: Half width of the counting window in resolutions.
        window_sigma: Half width of the fit window, for the floating background.
        background_order: Order of the background polynomial in the fit.
        min_effective_events: Fewer in a category's window are pooled with neighbouring masses, and flagged
            where even that is not enough.
        n_fine_bins: Equal-signal bins of the ceiling, at least 20.
        n_bootstrap: Replicates; 0 for no errors.
        seed: Of the bootstrap.

    Raises:
        InputError: If a weight is negative or not finite, scores are constant or not finite, a part has no
            signal or no background, a mass lies outside the simulated range, or the objective is unknown.
    """
    masses = np.atleast_1d(np.asarray(masses, np.float64))
    if len(masses) == 0 or not np.isfinite(masses).all() or (np.diff(masses) <= 0).any():
        raise InputError("working points need at least one mass, finite and increasing")
    if kind not in ("categories", "threshold"):
        raise InputError(f"working_points.kind is {kind!r}: choose 'categories' or 'threshold'")
    n = 1 if kind == "threshold" else n_categories
    if not 1 <= n <= 10:
        raise InputError(f"working_points.n_categories is {n_categories}: it goes from 1 to 10")
    options: dict[str, Any] = {
        "confidence_level": confidence_level,
        "window_sigma": window_sigma,
        "peak_sigma": peak_sigma,
        "background_order": background_order,
    }
    to_choose = make_objective(objective, **options)
    name = objective if isinstance(objective, str) else getattr(objective, "__name__", "function")
    is_limit = isinstance(objective, str) and objective.startswith("expected_limit")
    limit = to_choose if is_limit else make_objective("expected_limit", **options)
    sigma = as_resolution(resolution, masses)
    half_width = peak_sigma * sigma(masses)
    chooses, quotes = (part_of_scores(scores, which, sigma, peak_sigma) for which in ("choose", "quote"))

    quantiles = fit_signal_quantiles(
        chooses.signal_mass, chooses.signal_score, chooses.signal_weight, n_bins=n_fine_bins
    )
    efficiency = efficiency_of_all(chooses, mass_range)
    nodes = node_masses(masses)
    node_width = np.interp(nodes, masses, half_width)
    flat_signal = np.repeat(efficiency(nodes)[0][:, None] / n_fine_bins, n_fine_bins, axis=1)
    bins = quantiles.bins(chooses.observable, chooses.score)
    table = fine_table(chooses.background_rows(bins, n_fine_bins + 1), flat_signal, nodes, node_width)
    fold = fold_of(chooses.key, 2, salt=_FOLD_SALT)
    halves = [
        fine_table(
            chooses.background_rows(bins, n_fine_bins + 1, fold == half), flat_signal, nodes, node_width
        )
        for half in (0, 1)
    ]
    span = (float(masses[0]), float(masses[-1]))
    curves, judged = choose_quantiles(
        table,
        [(halves[0], halves[1]), (halves[1], halves[0])],
        to_choose,
        n,
        span,
        equal=equal_categories,
    )
    edges = curves.edges(quantiles.mass_grid)  # purest first; categories count from the least pure
    boundaries = np.maximum.accumulate(quantiles.boundaries(edges)[:, ::-1], axis=1)

    ceiling_table = quoted_fine_table(
        quotes, quantiles, nodes, node_width, mass_range, n_bootstrap=n_bootstrap, seed=seed
    )
    ceiling = score_ceiling(ceiling_table, limit)
    common: dict[str, Any] = {
        "masses": masses,
        "half_width": half_width,
        "mass_range": mass_range,
        "min_effective_events": min_effective_events,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    categorise = _Boundaries(quantiles.mass_grid, boundaries).category
    quoted = count(quotes, categorise, n, **common)
    seen = count(chooses, categorise, n, **common)
    figures = make_figures(
        masses, quoted, seen, ceiling, limit, to_choose, luminosity_fb, min_effective_events
    )
    return WorkingPoints(
        kind=kind,
        n_categories=n,
        mass_grid=quantiles.mass_grid,
        boundaries=boundaries,
        figures=figures,
        channel=channel,
        objective=name,
        confidence_level=confidence_level,
        luminosity_fb=luminosity_fb,
        peak_sigma=peak_sigma,
        choice={
            "freedom_in_mass": int(curves.coefficients.shape[1]),
            "mean_log_objective_left_out": {str(k): v for k, v in judged.items()},
            "signal_rows": {"choose": len(chooses.signal_mass), "quote": len(quotes.signal_mass)},
            "background_rows": {"choose": len(chooses.weight), "quote": len(quotes.weight)},
            "ceiling_bins": n_fine_bins,
            "ceiling_bias": float(np.nanmin(ceiling.bias)) if np.isfinite(ceiling.bias).any() else None,
            "window_sigma": window_sigma,
            "background_order": background_order,
            "min_effective_events": min_effective_events,
            **mean_optimism_of(figures, quoted, seen, limit),
        },
    )


def _number(value: Any) -> float | None:
    """A finite number, or None: JSON has neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def _value(number: float | None) -> float:
    return float("nan") if number is None else float(number)
