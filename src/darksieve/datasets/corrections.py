"""Binned corrections of the simulation with their covariance: tracking, particle identification, photons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darksieve.atomic import write_json
from darksieve.datasets.events import Events
from darksieve.errors import InputError, nearest

FORMAT = "darksieve-correction/1"
BINS = "correction:"  # columns of bins begin so
OUTSIDE = -1  # bin of a row that the table says nothing of: its factor is 1
SMALLEST_EIGENVALUE = -1e-9  # of a correlation matrix, from rounding; below it the covariance is none

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AxisDocument(_Part):
    """One axis: a branch (``{object}`` stands for the object that is corrected), its unit and bin edges."""

    branch: str
    edges: Annotated[list[Finite], Field(min_length=2)]
    unit: str = "1"


class CorrectionDocument(_Part):
    """A correction table as a file: ``darksieve-correction/1``.

    ``values`` are factors on the weight, one per bin, the last axis fastest. Their uncertainty is either a
    ``covariance`` or standard deviations: ``uncorrelated`` between bins, and ``correlated`` ones by source,
    each fully correlated between bins (a negative number moves its bin against the others).
    ``outside`` says what happens to rows outside the edges: an error, the nearest bin, or the factor one.
    """

    format: Literal["darksieve-correction/1"]
    name: str
    source: str
    axes: Annotated[list[AxisDocument], Field(min_length=1)]
    values: Annotated[list[Finite], Field(min_length=1)]
    covariance: list[list[Finite]] | None = None
    uncorrelated: list[Finite] | None = None
    correlated: dict[str, list[Finite]] = Field(default_factory=dict)
    outside: Literal["error", "nearest", "one"] = "error"


def json_schema() -> dict[str, Any]:
    """The published schema, as packaged in ``configs/correction-table.schema.json``."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return schema | CorrectionDocument.model_json_schema() | {"title": FORMAT}


@dataclass(frozen=True)
class Axis:
    """One axis of a table.

    Attributes:
        branch: What it is binned in; ``{object}`` stands for the object.
        edges: Bin edges, increasing, shape (n + 1,).
        unit: Of the edges.
    """

    branch: str
    edges: NDArray[np.float64]
    unit: str


@dataclass(frozen=True, eq=False)
class CorrectionTable:
    """Factors on the weight of simulated events, with their covariance.

    Attributes:
        name: Of the correction.
        source: Where it comes from.
        axes: What it is binned in.
        values: Factors, > 0, shape (n_bins,), the last axis fastest.
        covariance: Of the values, shape (n_bins, n_bins).
        outside: What happens outside the edges: ``error``, ``nearest`` or ``one``.
    """

    name: str
    source: str
    axes: tuple[Axis, ...]
    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    outside: str

    @classmethod
    def parse(cls, content: Mapping[str, Any], place: str = "correction") -> CorrectionTable:
        """The table of a parsed document.

        Raises:
            InputError: If anything is wrong: names the place, the value and what would work.
        """
        try:
            document = CorrectionDocument.model_validate(content)
        except ValidationError as errors:
            first = errors.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            if first["type"] == "extra_forbidden":
                known = AxisDocument if len(first["loc"]) > 1 else CorrectionDocument
                hint = nearest(str(first["loc"][-1]), known.model_fields)
                raise InputError(f"{place}: {where}: unknown key{hint}") from None
            raise InputError(f"{place}: {where}: {first['msg']}") from None
        axes = tuple(Axis(axis.branch, np.array(axis.edges), axis.unit) for axis in document.axes)
        for axis in axes:
            if not (np.diff(axis.edges) > 0).all():
                raise InputError(f"{place}: edges of axis {axis.branch!r} must increase")
        n_bins = int(np.prod([len(axis.edges) - 1 for axis in axes]))
        values = _vector(document.values, n_bins, f"{place}: values")
        if values.min() <= 0:
            at = int(values.argmin())
            raise InputError(f"{place}: values[{at}] is {values[at]}; a factor is above zero")
        return cls(document.name, document.source, axes, values, _covariance(document, n_bins, place),
                   document.outside)  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> CorrectionTable:
        """Read a table.

        Raises:
            InputError: If the file cannot be read, or is no valid table.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise InputError(f"{path} is not JSON: {error}") from None
        if not isinstance(content, Mapping):
            raise InputError(f"{path}: a correction table is a mapping, with format {FORMAT!r}")
        return cls.parse(content, str(path))

    def save(self, path: str | Path) -> None:
        """Write the table, with its covariance in full."""
        axes = [{"branch": a.branch, "edges": a.edges.tolist(), "unit": a.unit} for a in self.axes]
        content = {"format": FORMAT, "name": self.name, "source": self.source, "axes": axes}
        numbers = {"values": self.values.tolist(), "covariance": self.covariance.tolist()}
        write_json(path, content | numbers | {"outside": self.outside})

    def branches(self, of_object: str = "") -> tuple[str, ...]:
        """Branches of the axes, for one object."""
        return tuple(axis.branch.replace("{object}", of_object) for axis in self.axes)

    def bins(self, columns: Sequence[ArrayLike]) -> NDArray[np.int32]:
        """Bin of each row.

        Args:
            columns: Values of each axis, of shape (n,) each.

        Returns:
            Positions in ``values``, shape (n,); ``OUTSIDE`` for rows outside, where the policy is ``one``.

        Raises:
            InputError: If rows are outside and the policy is ``error``, or a value is not a number.
        """
        index = np.zeros(len(np.asarray(columns[0])), np.int64)
        outside = np.zeros(len(index), bool)
        for axis, values in zip(self.axes, columns, strict=True):
            x = np.asarray(values, np.float64)
            n = len(axis.edges) - 1
            if np.isnan(x).any():
                raise InputError(
                    f"correction {self.name!r}: {int(np.isnan(x).sum())} rows have no number in"
                    f" {axis.branch!r}; select them away"
                )
            of_axis = np.searchsorted(axis.edges, x, side="right") - 1
            of_axis[x == axis.edges[-1]] = n - 1  # the last bin has both its edges
            beyond = (of_axis < 0) | (of_axis >= n)
            if beyond.any() and self.outside == "error":
                raise InputError(
                    f"correction {self.name!r}: {int(beyond.sum())} of {len(x)} rows have {axis.branch!r}"
                    f" outside {axis.edges[0]:g} to {axis.edges[-1]:g} {axis.unit}, the first"
                    f" {x[beyond][0]:.6g}; select them away, or say outside: nearest or one"
                )
            outside |= beyond
            index = index * n + np.clip(of_axis, 0, n - 1)
        if self.outside == "one":
            index[outside] = OUTSIDE
        return index.astype(np.int32)

    def factors(self, bins: NDArray[np.int32]) -> NDArray[np.float64]:
        """Factor of each row, shape (n,)."""
        return np.where(bins == OUTSIDE, 1.0, self.values[bins])

    def variations(self, keep: float = 0.99) -> EigenVariations:
        """The covariance as independent variations of the whole table, the largest first.

        Args:
            keep: Least fraction of the total variance (the covariance's trace) that they make up.
        """
        eigenvalues, vectors = np.linalg.eigh(self.covariance)
        eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1].T
        total = float(eigenvalues.sum())
        if total == 0:
            return EigenVariations(np.zeros((0, len(self.values))), np.zeros_like(self.covariance), 1.0)
        reached = np.cumsum(eigenvalues) / total
        n_kept = int(np.searchsorted(reached, keep - 1e-12)) + 1
        n_kept = min(n_kept, int(np.count_nonzero(eigenvalues > 1e-14 * total)))
        # one of the two signs, the same on every machine
        at = np.abs(vectors).argmax(axis=1)
        vectors = vectors * np.sign(vectors[np.arange(len(at)), at])[:, None]
        shifts = np.sqrt(eigenvalues)[:, None] * vectors
        rest = shifts[n_kept:].T @ shifts[n_kept:]
        return EigenVariations(shifts[:n_kept], rest, float(min(reached[n_kept - 1], 1.0)))


def bin_columns(name: str, objects: Sequence[str]) -> tuple[str, ...]:
    """Columns in which candidates keep which bins of a correction their objects use."""
    return tuple(f"{BINS}{name}:{i}" for i in range(max(len(objects), 1)))


def correct(events: Events, name: str, table: CorrectionTable, objects: Sequence[str] = ()) -> Events:
    """Events with their weights multiplied by the factor of each object, and the bins that these are in.

    Args:
        events: They have the branches of the table's axes.
        name: Of the correction.
        table: The factors.
        objects: What ``{object}`` in the axes stands for, each in turn; none where the axes name no object.

    Raises:
        InputError: As :meth:`CorrectionTable.bins`.
    """
    factor = np.ones(len(events))
    columns = {}
    for column, of_object in zip(bin_columns(name, objects), objects or ("",), strict=True):
        columns[column] = table.bins([events[branch] for branch in table.branches(of_object)])
        factor *= table.factors(columns[column])
    return events.with_columns(**columns).with_weight(events.weight * factor)


def uncorrected(events: Events, name: str, objects: Sequence[str] = ()) -> Events:
    """Events that a correction is not for, with the columns of those that it is for."""
    none = np.full(len(events), OUTSIDE, np.int32)
    return events.with_columns(**dict.fromkeys(bin_columns(name, objects), none))


@dataclass(frozen=True, eq=False)
class EigenVariations:
    """A covariance as independent variations.

    Attributes:
        shifts: Change of the table's values for one standard deviation of each, shape (n_kept, n_bins).
        rest: Covariance that they leave out, shape (n_bins, n_bins).
        fraction_kept: Of the total variance.
    """

    shifts: NDArray[np.float64]
    rest: NDArray[np.float64]
    fraction_kept: float

    def relative_changes(
        self, usage: NDArray[np.float64], values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What one standard deviation of each variation does to yields.

        Args:
            usage: How often a yield uses each bin, weighted: shape (n_yields, n_bins).
            values: Of the table, shape (n_bins,).

        Returns:
            Relative changes, shape (n_yields, n_kept), and the standard deviation of what is left out,
            shape (n_yields,). Taken as fully correlated between yields the latter is conservative.
        """
        sensitivity = usage / values
        variance = np.einsum("yb,bc,yc->y", sensitivity, self.rest, sensitivity)
        return sensitivity @ self.shifts.T, np.sqrt(np.maximum(variance, 0.0))


def _vector(values: Sequence[float], n_bins: int, place: str) -> NDArray[np.float64]:
    if len(values) != n_bins:
        raise InputError(f"{place}: {len(values)} numbers for {n_bins} bins; give one per bin")
    return np.asarray(values, np.float64)


def _covariance(document: CorrectionDocument, n_bins: int, place: str) -> NDArray[np.float64]:
    parts = document.uncorrelated is not None or document.correlated
    if (document.covariance is not None) == bool(parts):
        raise InputError(f"{place}: give either covariance, or uncorrelated and correlated uncertainties")
    if document.covariance is None:
        covariance = np.zeros((n_bins, n_bins))
        if document.uncorrelated is not None:
            deviations = _vector(document.uncorrelated, n_bins, f"{place}: uncorrelated")
            if deviations.min() < 0:
                raise InputError(f"{place}: uncorrelated: {deviations.min()} is negative")
            covariance += np.diag(deviations**2)
        for source, given in document.correlated.items():
            deviations = _vector(given, n_bins, f"{place}: correlated.{source}")
            covariance += np.outer(deviations, deviations)
        return covariance
    rows = [_vector(row, n_bins, f"{place}: covariance[{i}]") for i, row in enumerate(document.covariance)]
    if len(rows) != n_bins:
        raise InputError(f"{place}: covariance: {len(rows)} rows for {n_bins} bins; give one per bin")
    covariance = np.array(rows)
    if not np.allclose(covariance, covariance.T, rtol=1e-9, atol=1e-300):
        raise InputError(f"{place}: covariance is not symmetric")
    diagonal = np.diag(covariance)
    if diagonal.min() < 0:
        raise InputError(f"{place}: covariance: variance {diagonal.min()} is negative")
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    smallest = float(np.linalg.eigvalsh(covariance / np.outer(scale, scale)).min())
    if smallest < SMALLEST_EIGENVALUE:
        raise InputError(
            f"{place}: covariance has a negative eigenvalue ({smallest:.3g} of its correlations): it is none"
        )
    return (covariance + covariance.T) / 2
