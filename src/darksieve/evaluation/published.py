"""Published observed limits, in bins of mass: for pictures and for a sanity check, never to tune anything to.

The numbers were digitised by third parties from the published figures, so they are good to about 25 to 30 %;
each bin holds the minimum, median and maximum over the published points in it. No published *expected* limit
was available for any of these searches.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.couplings import g_agammagamma_from_cross_section, g_aW_from_branching_fraction
from darksieve.errors import nearest

Floats = NDArray[np.float64]

# limits fall as L^power where the background is not small: cross sections by 1/2, couplings by 1/4
LUMINOSITY_POWER = {
    "cross_section": -0.5,
    "branching_fraction": -0.5,
    "g_agammagamma": -0.25,
    "g_aW": -0.25,
}


@dataclass(frozen=True, eq=False)
class PublishedLimits:
    """Observed upper limits of one published search, in bins of mass.

    Attributes:
        name: Name to ask for it by.
        label: Experiment and year, as in a legend.
        process: The process searched for.
        parameter: What the limit is on: cross_section, branching_fraction, g_agammagamma, g_aW.
        unit: Its unit (fb for cross sections).
        luminosity_fb: Integrated luminosity in 1/fb.
        confidence_level: Of the limits.
        sqrt_s_gev: Centre-of-mass energy in GeV.
        reference: The publication.
        digitised_by: Who read the numbers off the figure.
        note: What the numbers are good for.
        differences: What makes it differ from an expected limit of darksieve's, in words.
        low, high: Edges of the bins in GeV, shape (n_bins,).
        n_points: Published points in each bin, shape (n_bins,).
        minimum, median, maximum: Over those points, shape (n_bins,).
    """

    name: str
    label: str
    process: str
    parameter: str
    unit: str
    luminosity_fb: float
    confidence_level: float
    sqrt_s_gev: float
    reference: str
    digitised_by: str
    note: str
    differences: tuple[str, ...]
    low: Floats
    high: Floats
    n_points: NDArray[np.int64]
    minimum: Floats
    median: Floats
    maximum: Floats

    @property
    def centre(self) -> Floats:
        """Middle of each bin in GeV."""
        return (self.low + self.high) / 2

    def converted(
        self, parameter: str, unit: str, convert: Callable[[Floats, Floats], Floats]
    ) -> PublishedLimits:
        """The same limits on another parameter, by ``convert(mass, limit)`` at the middle of each bin."""
        return replace(
            self,
            parameter=parameter,
            unit=unit,
            minimum=convert(self.centre, self.minimum),
            median=convert(self.centre, self.median),
            maximum=convert(self.centre, self.maximum),
        )

    def as_g_agammagamma(self) -> PublishedLimits:
        """Limits on g_aγγ in 1/GeV from limits on the cross section of e+e- → γa.

        Raises:
            ValueError: If these are not limits on a cross section.
        """
        if self.parameter != "cross_section":
            raise ValueError(
                f"{self.name} limits {self.parameter}, not cross_section: no g_agammagamma from it"
            )
        return self.converted(
            "g_agammagamma",
            "1/GeV",
            lambda mass, limit: g_agammagamma_from_cross_section(mass, limit, sqrt_s=self.sqrt_s_gev),
        )

    def as_g_aW(self, hadron: str) -> PublishedLimits:
        """Limits on g_aW in 1/GeV from limits on B(B → h a), prompt decays assumed as published.

        Raises:
            ValueError: If these are not limits on a branching fraction.
        """
        if self.parameter != "branching_fraction":
            raise ValueError(f"{self.name} limits {self.parameter}, not branching_fraction: no g_aW from it")
        return self.converted(
            "g_aW", "1/GeV", lambda mass, limit: g_aW_from_branching_fraction(hadron, mass, limit)
        )


@dataclass(frozen=True, eq=False)
class PublishedComparison:
    """Expected limits of a scan beside published observed ones, bin by bin.

    Attributes:
        published: What is compared with.
        luminosity_fb: Luminosity of the expected limits in 1/fb.
        n_scan_points: Scan points with a number in each bin; where 0, the rest is NaN. Shape (n_bins,).
        expected: Median over the scan points of a bin of the median expected limit, shape (n_bins,).
        ratio: expected / published median, each at its own luminosity, shape (n_bins,).
        ratio_low, ratio_high: expected / published maximum and minimum: the spread of the observed points.
        ratio_at_equal_luminosity: ratio with the published limit scaled to ``luminosity_fb`` (∝ L^(−1/2) for
            cross sections and branching fractions, L^(−1/4) for couplings; right where the background is
            not small and systematic uncertainties are).
    """

    published: PublishedLimits
    luminosity_fb: float
    n_scan_points: NDArray[np.int64]
    expected: Floats
    ratio: Floats
    ratio_low: Floats
    ratio_high: Floats
    ratio_at_equal_luminosity: Floats

    def as_table(self) -> dict[str, NDArray]:
        """Columns of the comparison, one row per bin."""
        own = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("published", "luminosity_fb")
        }
        names = ("minimum", "median", "maximum")
        published = {f"published_{key}": getattr(self.published, key) for key in names}
        return {"mass_low_gev": self.published.low, "mass_high_gev": self.published.high, **published, **own}


def _column(entry: dict[str, Any], key: str, factor: float = 1.0) -> NDArray:
    values = np.array([row[key] for row in entry["bins"]])
    if factor != 1.0:
        values = values * factor
    values.flags.writeable = False
    return values


def _from_entry(entry: dict[str, Any]) -> PublishedLimits:
    in_pb = entry["unit"] == "pb"
    factor = 1e3 if in_pb else 1.0
    return PublishedLimits(
        name=entry["name"],
        label=entry["label"],
        process=entry["process"],
        parameter=entry["parameter"],
        unit="fb" if in_pb else entry["unit"],
        luminosity_fb=entry["luminosity_fb"],
        confidence_level=entry["confidence_level"],
        sqrt_s_gev=entry["sqrt_s_gev"],
        reference=entry["reference"],
        digitised_by=entry["digitised_by"],
        note=entry["note"],
        differences=tuple(entry["differences"]),
        low=_column(entry, "low"),
        high=_column(entry, "high"),
        n_points=_column(entry, "n_points"),
        minimum=_column(entry, "minimum", factor),
        median=_column(entry, "median", factor),
        maximum=_column(entry, "maximum", factor),
    )


@dataclass(frozen=True)
class PublishedRange:
    """The range of the upper limits of a published search, of which no limit at a mass is at hand.

    Attributes:
        name, label, process, parameter, unit, luminosity_fb, confidence_level, reference, differences: As in
            ``PublishedLimits``.
        lowest, highest: Ends of the range, over all masses.
    """

    name: str
    label: str
    process: str
    parameter: str
    unit: str
    luminosity_fb: float
    confidence_level: float
    lowest: float
    highest: float
    reference: str
    differences: tuple[str, ...]


@cache
def _document() -> dict[str, Any]:
    text = files("darksieve.evaluation").joinpath("published_limits.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@cache
def _read() -> dict[str, PublishedLimits]:
    return {entry["name"]: _from_entry(entry) for entry in _document()["limits"]}


def published_ranges() -> dict[str, PublishedRange]:
    """Ranges of limits of published searches, by name."""
    entries = [entry | {"differences": tuple(entry["differences"])} for entry in _document()["ranges"]]
    return {entry["name"]: PublishedRange(**entry) for entry in entries}


def published_names() -> tuple[str, ...]:
    """Names of the published searches that are packaged."""
    return tuple(_read())


def published_limits(name: str) -> PublishedLimits:
    """One packaged set of published limits; cross sections are in fb.

    Raises:
        ValueError: If there is no set of this name; the nearest one is offered.
    """
    known = _read()
    if name not in known:
        raise ValueError(f"no published limits {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    return known[name]


def compare_with_published(
    masses: ArrayLike,
    expected: ArrayLike,
    published: PublishedLimits,
    *,
    luminosity_fb: float,
    confidence_level: float,
) -> PublishedComparison:
    """Expected over published limits in each published bin.

    Args:
        masses: Masses of the scan in GeV, shape (n,).
        expected: Median expected limits in the unit of `published`, NaN where a point has none, shape (n,).
        published: From `published_limits`, converted to the parameter of `expected`.
        luminosity_fb: Luminosity of the expected limits in 1/fb.
        confidence_level: Of the expected limits.

    Raises:
        ValueError: If shapes differ, the confidence levels differ, or a limit is not positive.
    """
    points = np.asarray(masses, dtype=np.float64)
    limits = np.asarray(expected, dtype=np.float64)
    if points.ndim != 1 or points.shape != limits.shape:
        raise ValueError(f"shapes of masses {points.shape} and expected limits {limits.shape} do not match")
    if np.any(limits <= 0):
        raise ValueError(f"expected limits must be positive, found {np.nanmin(limits):.6g}")
    if not luminosity_fb > 0:
        raise ValueError(f"luminosity_fb must be positive, not {luminosity_fb}")
    if abs(confidence_level - published.confidence_level) > 1e-9:
        raise ValueError(
            f"expected limits at {confidence_level:.0%} and {published.label} at"
            f" {published.confidence_level:.0%} confidence do not compare"
        )
    n_bins = len(published.low)
    counts = np.zeros(n_bins, dtype=np.int64)
    medians = np.full(n_bins, np.nan)
    for i, (low, high) in enumerate(zip(published.low, published.high, strict=True)):
        inside = limits[(points >= low) & (points < high) & np.isfinite(limits)]
        counts[i] = len(inside)
        if len(inside):
            medians[i] = np.median(inside)
    scaling = (luminosity_fb / published.luminosity_fb) ** LUMINOSITY_POWER[published.parameter]
    return PublishedComparison(
        published=published,
        luminosity_fb=luminosity_fb,
        n_scan_points=counts,
        expected=medians,
        ratio=medians / published.median,
        ratio_low=medians / published.maximum,
        ratio_high=medians / published.minimum,
        ratio_at_equal_luminosity=medians / (published.median * scaling),
    )
