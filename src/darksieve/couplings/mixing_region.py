"""Which mixings a limit excludes: rate and lifetime both hang on sin θ, so it is a region, not a bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from darksieve.couplings.checks import Floats, not_negative


def excluded_ranges(coordinate: ArrayLike, expected: ArrayLike, limit: ArrayLike) -> Floats:
    """Lowest and highest value of a parameter at which more events are expected than a limit allows.

    Args:
        coordinate: Ascending positive values of the parameter, shape (n,).
        expected: Expected events there, shape (..., n).
        limit: Upper limits on the events, NaN for none, shape (...,).

    Returns:
        Both ends, NaN where nothing is excluded, shape (..., 2). They are interpolated in the logarithms, and
        the ends of ``coordinate`` where expectations are above the limit there: nothing is known beyond. A
        gap between two excluded ranges is not told.

    Raises:
        ValueError: If shapes do not match, or an expectation is negative or not finite.
    """
    at = np.asarray(coordinate, dtype=np.float64)
    events = not_negative(expected, "expected events")
    limits = np.asarray(limit, dtype=np.float64)
    if at.ndim != 1 or events.shape != (*limits.shape, len(at)) or not (np.diff(at) > 0).all():
        raise ValueError(
            f"shapes of parameter {at.shape}, expectation {events.shape} and limit {limits.shape} do not"
            " match, or the parameter does not ascend"
        )
    flat, bounds = events.reshape(-1, len(at)), limits.ravel()
    out = np.full((len(bounds), 2), np.nan)
    x = np.log(at)
    for i, (row, bound) in enumerate(zip(flat, bounds, strict=True)):
        above = np.flatnonzero(row > bound) if np.isfinite(bound) else np.empty(0, np.int64)
        if not len(above):
            continue
        y = np.log(np.maximum(row, 1e-300)) - np.log(bound)
        first, last = above[0], above[-1]
        low = x[first] if first == 0 else np.interp(0.0, y[first - 1 : first + 1], x[first - 1 : first + 1])
        high = x[last] if last == len(at) - 1 else np.interp(0.0, -y[last : last + 2], x[last : last + 2])
        out[i] = np.exp(low), np.exp(high)
    return out.reshape(*limits.shape, 2)
