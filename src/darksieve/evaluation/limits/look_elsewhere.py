"""The global p-value of the largest excess of a scan: toys of the whole scan, and Gross–Vitells.

References:
    E. Gross and O. Vitells, Eur. Phys. J. C 70 (2010) 525 (up-crossings: an upper bound, good at small p).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from darksieve.evaluation.limits.curve import GlobalEstimate, GlobalExcess, LimitCurve
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.questions import Question

REFERENCE_LEVEL = 1.0  # standard deviations, at which up-crossings are counted


def count_up_crossings(significance: ArrayLike, level: float = REFERENCE_LEVEL) -> NDArray[np.int64]:
    """How often a scan, in order of mass, rises through a significance; NaN (a gap) is no crossing.

    Args:
        significance: Signed, shape (..., n_masses).
        level: In standard deviations.

    Returns:
        Counts, shape (...,).
    """
    z = np.asarray(significance, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum((z[..., :-1] < level) & (z[..., 1:] >= level), axis=-1), np.int64)


def gross_vitells(
    significance: float, n_crossings: float, n_crossings_error: float = 0.0, level: float = REFERENCE_LEVEL
) -> tuple[float, float]:
    """Global p-value from the mean number of up-crossings of a reference level, capped at 1, and its error.

    Args:
        significance: Of the largest local excess.
        n_crossings: Mean number of up-crossings of ``level`` by the background alone.
        n_crossings_error: Its error.
        level: In standard deviations, at most ``significance``.
    """
    suppression = math.exp(-(significance**2 - level**2) / 2) if significance > level else 1.0
    p = float(ndtr(-significance)) + n_crossings * suppression
    return min(p, 1.0), (n_crossings_error * suppression if p < 1 else 0.0)


def global_excess(
    questions: Sequence[Question], curve: LimitCurve, *, seed: int = 1, n_toys: int = 10_000
) -> GlobalExcess | None:
    """The largest excess of a curve and its global p-value; None while blind or for fewer than two points.

    Toys of the whole scan answer where one document scans histograms (or values) that its points share; for
    other documents, and beside the toys, Gross–Vitells does, with the up-crossings that the data show.

    Args:
        questions: What the curve answers.
        curve: The answers.
        seed: Of the toys.
        n_toys: Of the whole scan.
    """
    points = [point for point in curve.points if point.p0 is not None and point.succeeded]
    if len(points) < 2:
        return None
    largest = min(points, key=lambda point: 1.0 if point.p0 is None else point.p0)
    p0 = float(largest.p0 or 0.0)
    z_largest = float(-ndtri(max(p0, 1e-300)))
    p_values = np.array([point.p0 for point in points], np.float64)
    z = -np.asarray(ndtri(np.clip(p_values, 1e-300, 1 - 1e-16)))
    n = float(count_up_crossings(z))
    p, error = gross_vitells(z_largest, n, math.sqrt(max(n, 1.0)))
    estimate = GlobalEstimate(p_global=max(p, p0), p_global_error=error)
    note = "up-crossings counted in the data"
    if len(questions) == 1 and isinstance(questions[0].model, SearchModel):
        from darksieve.evaluation.limits.scan_toys import ToysNotShared, scan_toys

        try:
            found = scan_toys(questions[0].model, n_toys=n_toys, seed=seed)
        except ToysNotShared as reason:
            note = f"{note}; no toys of the scan: {reason}"
        else:
            p, error = gross_vitells(found.significance, found.n_crossings, found.n_crossings_error)
            better = GlobalEstimate(p_global=max(p, p0), p_global_error=error)
            if found.n_above > 0:
                return GlobalExcess(
                    p0_min=p0,
                    mass=largest.mass,
                    label=largest.label,
                    significance=_significance(found.p_global),
                    p_global=found.p_global,
                    p_global_error=found.p_global_error,
                    method="toys",
                    n_toys=found.n_toys,
                    gross_vitells=better,
                )
            estimate = better
            note = f"none of {found.n_toys} toys has so large an excess; up-crossings counted in them"
    return GlobalExcess(
        p0_min=p0,
        mass=largest.mass,
        label=largest.label,
        significance=_significance(estimate.p_global),
        p_global=estimate.p_global,
        p_global_error=estimate.p_global_error,
        method="gross_vitells",
        gross_vitells=estimate,
        note=note,
    )


def _significance(p: float) -> float | None:
    return float(-ndtri(p)) if 0 < p < 1 else None
