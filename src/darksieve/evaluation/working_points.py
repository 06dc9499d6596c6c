"""Working points: score boundaries that are smooth in mass, what they reach, and how they are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.atomic import write_json
from darksieve.datasets.folds import choice_fold_of
from darksieve.errors import InputError, nearest
from darksieve.evaluation.boundaries import Boundaries, out_of_fold
from darksieve.evaluation.quoting import Figures
from darksieve.evaluation.tails import FAMILIES

FORMAT = "darksieve-working-points/1"
Kind = Literal["categories", "threshold"]
_BY_CATEGORY = ("signal_efficiency", "n_background", "effective_events", "pooled_effective_events")
_BY_MASS = (
    "expected_limit",
    "percent_of_ceiling",
    "optimism",
    "objective_value",
    "expected_limit_no_cut",
    "tail_spread",
    "more_simulation",
)
_LEAST_SPREAD = 1e-3  # of the background between tail families that is worth telling
_WITH_ERROR = ("signal_efficiency", "n_background", "expected_limit", "percent_of_ceiling", "optimism")


@dataclass(frozen=True, eq=False)
class WorkingPoints:
    """Score boundaries by mass: where candidates are rejected, and how the others are divided.

    Attributes:
        kind: "categories" (fitted together) or "threshold" (a single cut).
        n_categories: Categories that are kept; 1 for a threshold.
        mass_grid: Values of the observable (GeV) at which boundaries are tabulated, increasing, shape
            (n_grid,).
        boundaries: Lower score edges, increasing along the last axis, shape (n_folds, n_grid, n_categories).
            Those of a fold were chosen on the events of all others (``choice_fold_of``).
        figures: What they reach at each mass of the scan.
        channel: Name of the channel.
        objective: What was minimised.
        confidence_level: Of the expected limits.
        yield_per_efficiency: Signal events for one unit of ``limit_unit`` at full efficiency.
        limit_unit: What the expected limits are in.
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
    yield_per_efficiency: float = 1.0
    limit_unit: str = "events produced"
    peak_sigma: float = 2.0
    choice: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        grid = np.array(self.mass_grid, np.float64)
        boundaries = np.array(self.boundaries, np.float64)
        if boundaries.ndim != 3 or boundaries.shape[1:] != (len(grid), self.n_categories):
            raise ValueError(f"boundaries of shape {boundaries.shape} for {(len(grid), self.n_categories)}")
        if not (np.isfinite(grid).all() and np.isfinite(boundaries).all()):
            raise ValueError("boundaries and their masses must be finite")
        if (np.diff(grid) <= 0).any() or (np.diff(boundaries, axis=2) < 0).any():
            raise ValueError(
                "the mass grid must increase, and boundaries must not decrease between categories"
            )
        for name, values in (("mass_grid", grid), ("boundaries", boundaries)):
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        object.__setattr__(self, "_curves", [Boundaries(grid, one) for one in boundaries])

    @property
    def n_folds(self) -> int:
        """Number of folds in rotation."""
        return len(self.boundaries)

    def boundaries_at(self, observable: ArrayLike, fold: int | None = None) -> NDArray[np.float64]:
        """Lower score edges at any observable, shape (n, n_categories); constant beyond the grid.

        Args:
            observable: GeV, shape (n,).
            fold: Whose edges; the mean of all folds where absent.
        """
        curves: list[Boundaries] = self._curves  # type: ignore[attr-defined]
        if fold is not None:
            return curves[fold].at(observable)
        return np.asarray(np.mean([one.at(observable) for one in curves], axis=0), np.float64)

    def category(self, observable: ArrayLike, score: ArrayLike, key: ArrayLike) -> NDArray[np.int8]:
        """Category of each candidate: 0 rejected, 1 … n_categories with growing purity, shape (n,).

        Args:
            observable: The candidate's own value, GeV, shape (n,).
            score: Shape (n,); a NaN score, or a NaN observable, is rejected.
            key: Hash of its event, shape (n,): an event is judged by the edges that it did not choose.
        """
        fold = choice_fold_of(np.asarray(key, np.uint64), self.n_folds) if self.n_folds > 1 else 0
        return out_of_fold(self._curves, observable, score, np.broadcast_to(fold, np.shape(score)))  # type: ignore[attr-defined]

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
                of_families = f.tail_background[:, i, j]
                point["n_background_by_tail"] = (
                    dict(zip(FAMILIES, map(_number, of_families), strict=True))
                    if not np.ptp(of_families) <= _LEAST_SPREAD * of_families.max()  # NaN is told
                    else None
                )
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
            "yield_per_efficiency": self.yield_per_efficiency,
            "limit_unit": self.limit_unit,
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
            tails = [tail_background_of(p) for p in points]
            errors = {}
            for name in _WITH_ERROR:
                if points and f"{name}_error" in points[0]:
                    rows = points if name in _BY_CATEGORY else points[::n]
                    values = np.array([_value(p[f"{name}_error"]) for p in rows])
                    errors[name] = values.reshape(shape) if name in _BY_CATEGORY else values
            figures = Figures(
                masses=np.array([p["mass"] for p in points[::n]], float),
                status=np.array([p["status"] for p in points]).reshape(shape),
                tail_background=np.array(tails).reshape(*shape, len(FAMILIES)).transpose(2, 0, 1),
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
                yield_per_efficiency=document["yield_per_efficiency"],
                limit_unit=document["limit_unit"],
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


def tail_background_of(point: Mapping[str, Any]) -> NDArray[np.float64]:
    """Background of a point of the document by tail family, that of the point itself where they agree."""
    given = point.get("n_background_by_tail")
    if given is None:
        return np.full(len(FAMILIES), _value(point["n_background"]))
    return np.array([_value(given[family]) for family in FAMILIES])


def _number(value: Any) -> float | None:
    """A finite number, or None: JSON has neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def _value(number: float | None) -> float:
    return float("nan") if number is None else float(number)
