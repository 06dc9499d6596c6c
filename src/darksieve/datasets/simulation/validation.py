"""What a simulation says of itself: measured quantities beside their references, and curves to draw.

A family of processes measures its own samples, or a small standard sample of its own, into a
:class:`Validation`; ``validations`` knows the families.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.atomic import write_json
from darksieve.datasets.simulation.record import SampleRecord
from darksieve.errors import InputError

FORMAT = "darksieve-simulation-validation/1"
Floats = NDArray[np.float64]

_N_GROUPS = 25


@dataclass(frozen=True)
class Check:
    """One quantity that the simulation has, beside what it should be.

    Attributes:
        quantity: What it is, with where it was measured.
        value: As simulated, in ``unit``.
        error: Its statistical standard error; 0 for what is calculated.
        reference: What it should be.
        reference_error: Standard error of that; None where it is not known: then there is no pull.
        unit: Of all four, "1" for none.
        source: Where the reference comes from.

    Raises:
        ValueError: If a number is not finite, or an error is negative.
    """

    quantity: str
    value: float
    error: float
    reference: float
    reference_error: float | None
    unit: str
    source: str

    def __post_init__(self) -> None:
        for name in ("value", "error", "reference"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"check {self.quantity!r}: {name} is {getattr(self, name)}")
        if not self.error >= 0 or (self.reference_error is not None and not self.reference_error >= 0):
            raise ValueError(f"check {self.quantity!r}: an error is at least 0")

    @classmethod
    def compare(
        cls,
        quantity: str,
        measured: Sequence[float] | Floats,
        reference: Sequence[float] | Floats,
        unit: str,
        source: str,
        *,
        scale: float = 1.0,
    ) -> Check:
        """A check of (value, error) against (value, error), both times ``scale``."""
        value, error = (scale * float(number) for number in measured)
        expected, expected_error = (scale * float(number) for number in reference)
        return cls(quantity, value, error, expected, expected_error, unit, source)

    @property
    def pull(self) -> float | None:
        """The difference in standard deviations; None where neither side has an error."""
        if self.reference_error is None:
            return None
        error = math.hypot(self.error, self.reference_error)
        return (self.value - self.reference) / error if error > 0 else None

    @property
    def relative_difference(self) -> float | None:
        """Value over reference minus 1; None where the reference is 0."""
        return self.value / self.reference - 1 if self.reference else None


@dataclass(frozen=True)
class Series:
    """Points with errors, or a line (``errors`` None).

    Attributes:
        label: For the legend.
        x: Ascending for a line, shape (n,).
        y: Shape (n,); NaN draws nothing.
        errors: Standard errors, shape (n,), for points.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    errors: tuple[float, ...] | None = None

    @classmethod
    def of(cls, label: str, x: ArrayLike, y: ArrayLike, errors: ArrayLike | None = None) -> Series:
        """A series from arrays.

        Raises:
            ValueError: If the lengths differ.
        """
        columns = [np.asarray(values, dtype=float) for values in (x, y)]
        if errors is not None:
            columns.append(np.asarray(errors, dtype=float))
        if len({values.shape for values in columns}) != 1 or columns[0].ndim != 1:
            raise ValueError(f"series {label!r}: shapes {[values.shape for values in columns]} differ")
        plain = [tuple(values.tolist()) for values in columns]
        return cls(label, plain[0], plain[1], plain[2] if errors is not None else None)


@dataclass(frozen=True)
class Curve:
    """A picture of the validation, as numbers.

    Attributes:
        name: A word, for the file.
        title: For the page.
        x_label: With its unit.
        y_label: With its unit.
        series: What is drawn.
        alt: The picture in words.
        log_x: Whether the axis is logarithmic.
        log_y: Whether the axis is logarithmic.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    alt: str
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Validation:
    """What one family of processes says of itself.

    Attributes:
        family: Its name, a word.
        title: For the page.
        notes: Sentences: what was measured on which events, and what the simulation leaves out.
        checks: The table.
        curves: The pictures.
    """

    family: str
    title: str
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class SimulatedFile:
    """A simulated sample of the run.

    Attributes:
        name: The sample's name in the config.
        path: The ROOT file.
        record: Its sidecar.
    """

    name: str
    path: Path
    record: SampleRecord

    def columns(self, *names: str, n_rows: int = 200_000) -> dict[str, NDArray]:
        """Branches of the first rows.

        Raises:
            InputError: If the file has no such branch.
        """
        import uproot

        with uproot.open(self.path) as file:
            tree = file[self.record.tree]
            missing = sorted(set(names) - set(tree.keys()))
            if missing:
                raise InputError(f"{self.path}:{self.record.tree} has no branch {missing[0]!r}")
            columns: dict[str, NDArray] = tree.arrays(
                filter_name=lambda name: name in names, library="np", entry_stop=n_rows
            )
        return columns


def known(*pairs: Sequence[float] | Floats) -> bool:
    """Whether values and errors are all finite: what too few events measured is left out of the table."""
    return all(bool(np.isfinite(np.asarray(pair, dtype=float)).all()) for pair in pairs)


def grouped_error(values: Floats, statistic: Callable[[Floats], float]) -> tuple[float, float]:
    """A statistic of values in random order, shape (n,), and its standard error.

    The error is the scatter of the statistic over 25 groups, divided by 5; NaN with fewer than 250 values.
    """
    values = np.asarray(values, dtype=np.float64)
    whole = float(statistic(values)) if len(values) else math.nan
    if len(values) < 10 * _N_GROUPS:
        return whole, math.nan
    groups = [statistic(values[i::_N_GROUPS]) for i in range(_N_GROUPS)]
    return whole, float(np.std(groups, ddof=1) / math.sqrt(_N_GROUPS))


def half_width(values: Floats) -> float:
    """Half the width of the central 68.27 %: the standard deviation of a Gaussian, deaf to tails."""
    low, high = np.quantile(values, [0.158655, 0.841345])
    return float(high - low) / 2


def save_validations(validations: Sequence[Validation], path: Path) -> None:
    """Writes the validations as JSON, atomically; NaN of a series is null."""
    document = {"format": FORMAT, "families": [asdict(validation) for validation in validations]}
    write_json(path, _without_nan(document))


def load_validations(path: Path) -> tuple[Validation, ...]:
    """What :func:`save_validations` wrote.

    Raises:
        InputError: If the file is not of this format.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}")
        return tuple(_validation(entry) for entry in document["families"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no validation of a simulation ({FORMAT}): {error}") from None


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def _validation(entry: dict[str, Any]) -> Validation:
    curves = []
    for curve in entry["curves"]:
        series = tuple(
            Series(
                one["label"],
                _numbers(one["x"]),
                _numbers(one["y"]),
                None if one["errors"] is None else _numbers(one["errors"]),
            )
            for one in curve["series"]
        )
        curves.append(Curve(**{**curve, "series": series}))
    return Validation(
        entry["family"],
        entry["title"],
        tuple(entry["notes"]),
        tuple(Check(**check) for check in entry["checks"]),
        tuple(curves),
    )
