"""Weights that give background and signal one mass distribution, so that the mass itself tells nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError, nearest

Target = Literal["background_to_signal", "signal_to_background", "flat", "none"]
TARGETS: tuple[str, ...] = get_args(Target)


def effective_number(weight: NDArray) -> float:
    """Kish's effective number of events, (Σw)² / Σw²; 0 for none."""
    total, squares = float(np.sum(weight)), float(np.sum(np.square(weight)))
    return total**2 / squares if squares > 0 else 0.0


@dataclass(frozen=True, eq=False)
class MassMatching:
    """Factors on the weights of background and signal as functions of a column, as a rule the mass.

    Attributes:
        target: Which class takes the other's distribution, or "flat" for both.
        edges: Edges of bins with equal content of the two classes together, shape (n_bins + 1,).
        background_factor: Factor at the centre of each bin, linear between centres, shape (n_bins,).
        signal_factor: The same of the signal.
        cap: No factor is larger than this times the mean factor of its class.
        n_capped: Fitted rows whose factor was cut down to the cap.
        n_effective_before: Effective events of background and signal before.
        n_effective: And with the factors.
    """

    target: Target
    edges: NDArray[np.float64]
    background_factor: NDArray[np.float64]
    signal_factor: NDArray[np.float64]
    cap: float
    n_capped: int
    n_effective_before: tuple[float, float]
    n_effective: tuple[float, float]

    def factor(self, column: NDArray, is_signal: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Factor of each row, shape (n,); 0 for background where no signal was seen, and the reverse."""
        column = np.asarray(column, dtype=np.float64)
        if self.target == "none":
            return np.ones(len(column))
        centres = 0.5 * (self.edges[1:] + self.edges[:-1])
        inside = (column >= self.edges[0]) & (column <= self.edges[-1])
        values = np.where(
            is_signal,
            np.interp(column, centres, self.signal_factor),
            np.interp(column, centres, self.background_factor),
        )
        return np.where(inside, values, 0.0)

    def summary(self) -> dict[str, Any]:
        """Numbers for logs and bundles."""
        return {
            "target": self.target,
            "n_bins": len(self.background_factor),
            "cap": self.cap,
            "n_capped": self.n_capped,
            "n_effective_background_before": self.n_effective_before[0],
            "n_effective_signal_before": self.n_effective_before[1],
            "n_effective_background": self.n_effective[0],
            "n_effective_signal": self.n_effective[1],
        }


def match_masses(
    column: NDArray,
    is_signal: NDArray[np.bool_],
    weight: NDArray,
    *,
    target: Target = "background_to_signal",
    cap: float = 20.0,
    max_bins: int = 400,
    rows_per_bin: int = 200,
) -> MassMatching:
    """Density ratio of the two classes in one column, from bins that follow the data.

    Bins have equal content of both classes together (each normalised), so that they are narrow where
    discrete signal masses pile up and wide where there is little. Matching is limited to the column's range
    where both classes are.

    Args:
        column: Mass (or another column), shape (n,), finite.
        is_signal: Class of each row, shape (n,).
        weight: Weights before matching, not negative, shape (n,).
        cap: Greatest factor, in units of the mean factor of its class.
        max_bins: Most bins.
        rows_per_bin: Effective events that a bin must have on average, of the rarer class.

    Raises:
        InputError: If the target is not known, or the classes have no common range.
        ValueError: If a class is empty or ``cap`` is not above 1.
    """
    if target not in TARGETS:
        raise InputError(
            f"mass matching {target!r} is not known; there are {TARGETS}{nearest(target, TARGETS)}"
        )
    if not cap > 1:
        raise ValueError(f"cap is {cap}; it must be above 1")
    column = np.asarray(column, dtype=np.float64)
    classes = (~is_signal & (weight > 0), is_signal & (weight > 0))  # background, signal
    if not all(rows.any() for rows in classes):
        raise ValueError("mass matching needs rows with weight of both classes")
    before = (effective_number(weight[classes[0]]), effective_number(weight[classes[1]]))
    if target == "none":
        empty = np.zeros(0)
        return MassMatching(target, empty, empty, empty, cap, 0, before, before)
    low = max(column[rows].min() for rows in classes)
    high = min(column[rows].max() for rows in classes)
    if not low < high:
        raise InputError(
            "mass matching: background and signal have no mass in common; does the background's selection"
            " cover the signal's masses?"
        )
    inside = tuple(rows & (column >= low) & (column <= high) for rows in classes)
    rarer = min(effective_number(weight[rows]) for rows in inside)
    edges = _edges(column, weight, inside, n_bins=int(np.clip(rarer / rows_per_bin, 1, max_bins)))
    width = np.diff(edges)
    counts = [np.histogram(column[rows], edges, weights=weight[rows])[0] for rows in inside]
    density = [c / c.sum() / width for c in counts]
    ones = np.ones(len(width))
    with np.errstate(divide="ignore", invalid="ignore"):
        if target == "background_to_signal":
            factors = [np.where(density[0] > 0, density[1] / density[0], 0.0), ones]
        elif target == "signal_to_background":
            factors = [ones, np.where(density[1] > 0, density[0] / density[1], 0.0)]
        else:
            flat = 1 / (edges[-1] - edges[0])
            factors = [np.where(d > 0, flat / d, 0.0) for d in density]
    capped = [np.minimum(f, cap * np.average(f, weights=c)) for f, c in zip(factors, counts, strict=True)]
    matching = MassMatching(target, edges, capped[0], capped[1], cap, 0, before, before)
    weighted = weight * matching.factor(column, is_signal)
    n_capped = 0
    for rows, raw, cut in zip(inside, factors, capped, strict=True):
        which = np.clip(np.searchsorted(edges, column[rows], side="right") - 1, 0, len(width) - 1)
        n_capped += int(np.count_nonzero((raw > cut)[which]))
    after = (effective_number(weighted[classes[0]]), effective_number(weighted[classes[1]]))
    return MassMatching(target, edges, capped[0], capped[1], cap, n_capped, before, after)


def _edges(
    column: NDArray, weight: NDArray, classes: tuple[NDArray[np.bool_], ...], n_bins: int
) -> NDArray[np.float64]:
    """Edges of bins that share the two classes, each normalised to one, equally."""
    pooled = np.concatenate([column[rows] for rows in classes])
    shares = np.concatenate([weight[rows] / weight[rows].sum() for rows in classes])
    order = np.argsort(pooled, kind="stable")
    cumulated = np.cumsum(shares[order])
    at = np.searchsorted(cumulated, cumulated[-1] * np.linspace(0, 1, n_bins + 1)[1:-1])
    return np.unique(np.concatenate([[pooled.min()], pooled[order][at], [pooled.max()]]))
