"""The answer of the limit tool: limits at every point of a scan, ``darksieve-limits/1`` as JSON or CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator

from darksieve.atomic import write_json, write_text
from darksieve.errors import InputError
from darksieve.evaluation.limits.document import Parameter
from darksieve.evaluation.limits.faults import describe_faults
from darksieve.evaluation.limits.files import read_json
from darksieve.evaluation.limits.parts import Part

Status = Literal["converged", "converged_by_minuit", "failed", "vetoed", "no_signal"]
Method = Literal["asymptotic", "exact", "toys", "marginal"]
BAND_KEYS = {
    "sigma": ("-2", "-1", "0", "1", "2"),
    "quantile": ("2.5%", "16%", "50%", "84%", "97.5%"),
}


class Numbers(Part):
    """What one method says of one point; null where blind or unknown."""

    observed: float | None = None
    observed_error: float | None = None
    expected: dict[str, float | None] | None = None
    cls_observed: float | None = None
    cls_expected: dict[str, float | None] | None = None

    @field_validator("expected", "cls_expected")
    @classmethod
    def _none_if_empty(cls, values: dict[str, float | None] | None) -> dict[str, float | None] | None:
        return values if values and any(value is not None for value in values.values()) else None


class GoodnessOfFit(Part):
    """Saturated-likelihood χ² of the fit with signal in the point's windows, and its asymptotic p-value."""

    chi2: float
    n_dof: int
    p_value: float


class LimitPoint(Numbers):
    """Limits at one point, in units of the curve's parameter.

    ``expected`` and ``cls_expected`` map the band's level to its value. ``observed_error`` is the statistical
    error of a limit by toys. ``asymptotic`` holds the asymptotic numbers where ``method`` is another.
    ``background_family`` is that of the best fit, where a list of backgrounds was profiled.

    Of a search whose score has a tail that simulation does not fill: ``tail_spread`` is the largest over the
    smallest median expected limit among several families that continue the background there, less 1, and
    ``tail_expected`` are these two; ``more_simulation`` is how many times more background events would
    fill every category.
    """

    label: str
    mass: float | None = None
    best_fit: float | None = None
    best_fit_error: tuple[float | None, float | None] | None = None
    p0: float | None = None
    significance: float | None = None
    method: Method | None = None
    status: Status
    asymptotic: Numbers | None = None
    n_toys: int | None = None
    background_family: str | None = None
    goodness_of_fit: GoodnessOfFit | None = None
    tail_spread: float | None = None
    tail_expected: tuple[float, float] | None = None
    more_simulation: float | None = None
    note: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the point has numbers."""
        return self.status in ("converged", "converged_by_minuit")


class GlobalEstimate(Part):
    """One estimate of a global p-value."""

    p_global: float
    p_global_error: float | None = None


class GlobalExcess(GlobalEstimate):
    """The largest excess of the scan and its p-value after the look-elsewhere effect."""

    p0_min: float
    mass: float | None = None
    label: str | None = None
    significance: float | None = None
    method: Literal["toys", "gross_vitells"]
    n_toys: int | None = None
    gross_vitells: GlobalEstimate | None = None
    note: str | None = None


class LimitCurve(Part):
    """Limits of a scan, sorted by mass; frozen, can be saved, loaded and merged.

    ``ctau_cm``: mean proper decay length in cm of what is searched for, where the signal is that of one.
    """

    format: Literal["darksieve-limits/1"] = "darksieve-limits/1"
    confidence_level: float = Field(gt=0, lt=1)
    asimov: Literal["nominal", "postfit"]
    bands: Literal["sigma", "quantile"] = "sigma"
    test_statistic: Literal["qtilde", "q"] = "qtilde"
    cls_at: float | None = None
    parameter: Parameter = Parameter()
    ctau_cm: float | None = None
    points: tuple[LimitPoint, ...] = ()
    global_: GlobalExcess | None = Field(default=None, alias="global")

    def model_post_init(self, _: Any) -> None:
        """Sort the points by mass; those without one keep their order, at the end."""
        order = sorted(self.points, key=lambda point: math.inf if point.mass is None else point.mass)
        object.__setattr__(self, "points", tuple(order))

    @property
    def masses(self) -> NDArray[np.float64]:
        """Masses in GeV, NaN where unknown, shape (n_points,)."""
        return self.values("mass")

    @property
    def band_keys(self) -> tuple[str, ...]:
        """Keys of ``expected``, from the lowest level to the highest."""
        return BAND_KEYS[self.bands]

    def values(self, name: str) -> NDArray[np.float64]:
        """One number per point, such as ``observed`` or ``p0``, NaN where null, shape (n_points,)."""
        found = (getattr(point, name) for point in self.points)
        return np.array([math.nan if value is None else float(value) for value in found], np.float64)

    def expected(self, level: int = 0) -> NDArray[np.float64]:
        """Expected limits at a level of the band, −2 to 2 from lowest to highest, shape (n_points,)."""
        key = self.band_keys[level + 2]
        found = ((point.expected or {}).get(key) for point in self.points)
        return np.array([math.nan if value is None else value for value in found], np.float64)

    def point(self, label: str) -> LimitPoint:
        """The point of that label; KeyError if there is none."""
        for point in self.points:
            if point.label == label:
                return point
        raise KeyError(label)

    def missing(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Those of some labels without numbers here; ``answer_documents(…, known=curve)`` answers them."""
        answered = {point.label for point in self.points if point.succeeded}
        return tuple(label for label in labels if label not in answered)

    def with_points(self, points: Iterable[LimitPoint]) -> LimitCurve:
        """The curve with points added or replaced (by label); its global p-value is dropped."""
        by_label = {point.label: point for point in self.points}
        by_label.update({point.label: point for point in points})
        return self.model_copy(update={"points": tuple(by_label.values()), "global_": None})._sorted()

    def with_global(self, excess: GlobalExcess | None) -> LimitCurve:
        """The curve with its global p-value."""
        return self.model_copy(update={"global_": excess})

    def merge(self, other: LimitCurve) -> LimitCurve:
        """Both curves as one; where both have a point, the one with numbers wins, then the other's.

        Raises:
            InputError: If the curves answer different questions (confidence level, parameter, bands …).
        """
        for name in (
            "confidence_level",
            "asimov",
            "bands",
            "test_statistic",
            "cls_at",
            "parameter",
            "ctau_cm",
        ):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise InputError(f"limits that differ in {name} cannot be merged: {mine!r} and {theirs!r}")
        failed = {point.label for point in other.points if not point.succeeded}
        kept = {point.label for point in self.points if point.succeeded} & failed
        return self.with_points(point for point in other.points if point.label not in kept)

    def _sorted(self) -> Self:
        self.model_post_init(None)
        return self

    def to_json(self) -> dict[str, Any]:
        """The curve as plain JSON types: documented keys always, extra ones where they say something."""
        document = self.model_dump(mode="json", by_alias=True)
        for name in ("cls_at", "ctau_cm"):
            if document[name] is None:
                del document[name]
        for point in document["points"]:
            point["expected"] = point["expected"] or dict.fromkeys(self.band_keys)
        document["points"] = [_trimmed(point, _POINT_KEYS) for point in document["points"]]
        if document["global"] is not None:
            document["global"] = _trimmed(document["global"], _GLOBAL_KEYS)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, source: str = "limits") -> LimitCurve:
        """The curve from parsed JSON; InputError if it is not a valid ``darksieve-limits/1``."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise InputError(describe_faults(error, document, source)) from None

    def save(self, path: str | Path) -> None:
        """Write the curve atomically: CSV for a name that ends in ``.csv``, else JSON."""
        if Path(path).suffix == ".csv":
            write_text(path, self.to_csv())
        else:
            write_json(path, self.to_json(), indent=1)

    @classmethod
    def load(cls, path: str | Path) -> LimitCurve:
        """Read a curve from JSON or, for a name that ends in ``.csv``, from CSV (without the global p-value).

        Raises:
            InputError: If the file cannot be read or is no valid curve.
        """
        if Path(path).suffix == ".csv":
            try:
                return cls._from_csv(Path(path).read_text(encoding="utf-8"), str(path))
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        return cls.from_json(read_json(path), source=str(path))

    def to_csv(self) -> str:
        """One line per point; the curve's own facts are repeated on every line."""
        constant = {
            "parameter": self.parameter.name,
            "unit": self.parameter.unit,
            "confidence_level": self.confidence_level,
            "asimov": self.asimov,
            "test_statistic": self.test_statistic,
        }
        if self.cls_at is not None:
            constant["cls_at"] = self.cls_at
        if self.ctau_cm is not None:
            constant["ctau_cm"] = self.ctau_cm
        columns = ["label", "mass", "observed", *(f"expected_{key}" for key in self.band_keys), "best_fit"]
        columns += ["best_fit_error_low", "best_fit_error_high", "p0", "significance", "method", "status"]
        if self.cls_at is not None:
            columns += ["cls_observed", *(f"cls_expected_{key}" for key in self.band_keys)]
        if any(point.tail_spread is not None for point in self.points):
            columns += ["tail_spread", "tail_expected_low", "tail_expected_high", "more_simulation"]
        text = io.StringIO()
        writer = csv.DictWriter(text, [*columns, *constant], lineterminator="\n")
        writer.writeheader()
        for point in self.points:
            row = {name: getattr(point, name) for name in columns if hasattr(point, name)}
            row |= {f"expected_{key}": value for key, value in (point.expected or {}).items()}
            row |= {
                f"cls_expected_{key}": v
                for key, v in (point.cls_expected or {}).items()
                if self.cls_at is not None
            }
            row["best_fit_error_low"], row["best_fit_error_high"] = point.best_fit_error or (None, None)
            if "tail_spread" in columns:
                row["tail_expected_low"], row["tail_expected_high"] = point.tail_expected or (None, None)
            writer.writerow(row | constant)
        return text.getvalue()

    @classmethod
    def _from_csv(cls, text: str, source: str) -> LimitCurve:
        rows = list(csv.DictReader(io.StringIO(text)))
        if not rows:
            raise InputError(f"{source}: no points; a curve in CSV needs at least one line")
        first = rows[0]
        bands = "quantile" if f"expected_{BAND_KEYS['quantile'][0]}" in first else "sigma"
        try:
            return cls.from_json(
                {
                    "confidence_level": float(first["confidence_level"]),
                    "asimov": first["asimov"],
                    "bands": bands,
                    "test_statistic": first["test_statistic"],
                    "cls_at": _number(first.get("cls_at")),
                    "ctau_cm": _number(first.get("ctau_cm")),
                    "parameter": {"name": first["parameter"], "unit": first["unit"]},
                    "points": [_point_of_row(row, BAND_KEYS[bands]) for row in rows],
                },
                source=source,
            )
        except KeyError as error:
            raise InputError(
                f"{source}: column {error.args[0]!r} is missing; write it with LimitCurve.save"
            ) from None


_POINT_KEYS: tuple[str, ...] = (
    "label",
    "mass",
    "observed",
    "expected",
    "best_fit",
    "best_fit_error",
    "p0",
    "significance",
)
_POINT_KEYS += ("method", "status")
_GLOBAL_KEYS = ("p0_min", "mass", "p_global", "p_global_error", "method")


def _trimmed(values: dict[str, Any], always: tuple[str, ...]) -> dict[str, Any]:
    ordered = {key: values[key] for key in always}
    for key, value in values.items():
        if key not in ordered and value is not None:
            ordered[key] = (
                {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
            )
    return ordered


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _point_of_row(row: Mapping[str, str], keys: tuple[str, ...]) -> dict[str, Any]:
    point: dict[str, Any] = {"label": row["label"], "method": row["method"] or None, "status": row["status"]}
    plain = ("mass", "observed", "best_fit", "p0", "significance", "cls_observed")
    for name in (*plain, "tail_spread", "more_simulation"):
        point[name] = _number(row.get(name))
    tail = (_number(row.get("tail_expected_low")), _number(row.get("tail_expected_high")))
    point["tail_expected"] = None if tail == (None, None) else tail
    for name in ("expected", "cls_expected"):
        values = {key: _number(row.get(f"{name}_{key}")) for key in keys}
        point[name] = values if any(value is not None for value in values.values()) else None
    error = (_number(row["best_fit_error_low"]), _number(row["best_fit_error_high"]))
    point["best_fit_error"] = None if error == (None, None) else error
    return point
