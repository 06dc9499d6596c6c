"""Score edges as functions of the observable, by fold of the event, fast to look up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator


class Boundaries:
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


def out_of_fold(
    boundaries: Sequence[Boundaries], observable: ArrayLike, score: ArrayLike, fold: ArrayLike
) -> NDArray[np.int8]:
    """Category of each candidate by the boundaries of its fold, which its event did not choose."""
    observable, score, fold = np.asarray(observable), np.asarray(score), np.asarray(fold)
    out = np.zeros(len(score), np.int8)
    for i, one in enumerate(boundaries):
        mine = fold == i
        out[mine] = one.category(observable[mine], score[mine])
    return out
