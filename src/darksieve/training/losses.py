"""Losses that are the sensitivity itself, at thousands of overlapping mass hypotheses at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darksieve.models.fit_rows import Rows
from darksieve.training.soft_limit import Gradients, log_expected_limits, log_punzi

Objective = Literal["expected_limit", "punzi"]
_N_GRID = 128  # masses at which boundaries are tabulated


@dataclass(frozen=True, eq=False)
class MassHypotheses:
    """Counting windows, which may overlap.

    Attributes:
        masses: GeV, rising, shape (n_masses,).
        half_width: Of the windows from which yields are read, GeV, same shape.
        share: Factor from the background in such a window to that within ±2σ, same shape; 1 where they are
            the same.
    """

    masses: NDArray[np.float64]
    half_width: NDArray[np.float64]
    share: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("masses", "half_width", "share"):
            values = np.ascontiguousarray(getattr(self, name), np.float64)
            if values.shape != (len(self.masses),) or not np.isfinite(values).all() or not (values > 0).all():
                raise ValueError(f"{name} of mass hypotheses must be positive and finite, one for each mass")
            object.__setattr__(self, name, values)


class Windows:
    """Sums over all windows at once.

    Edges of all windows, sorted, cut the mass axis into cells; events are summed by cell, and a window is the
    difference of two prefix sums over cells. That is the same as prefix sums over events sorted by mass, but
    no batch needs to be sorted.
    """

    def __init__(self, hypotheses: MassHypotheses) -> None:
        low = (hypotheses.masses - hypotheses.half_width).astype(np.float32)
        high = (hypotheses.masses + hypotheses.half_width).astype(np.float32)
        self.edges = np.unique(np.concatenate([low, high]))
        self.low = np.searchsorted(self.edges, low)
        self.high = np.searchsorted(self.edges, high)
        # cell j lies above edge j - 1 and not above edge j; the guide says where to begin to look
        first, last = self.edges[0], self.edges[-1]
        n_guide = 4 * len(self.edges)
        self.per_gev = np.float32(n_guide / (last - first))
        places = first + np.arange(n_guide + 1) / self.per_gev
        self.guide = np.maximum(np.searchsorted(self.edges, places.astype(np.float32)) - 1, 0)

    @property
    def n_cells(self) -> int:
        """Cells with those below and above all edges."""
        return len(self.edges) + 1

    def cells(self, masses: NDArray[np.float32]) -> NDArray[np.int64]:
        """Cell of each event, shape (n,)."""
        return _cells(masses, self.edges, self.guide, self.per_gev)

    def sums(self, by_cell: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over windows, shape (n_masses, ...), of sums by cell, shape (n_cells, ...)."""
        summed = np.cumsum(by_cell, axis=0)
        return summed[self.high] - summed[self.low]

    def transposed(self, of_windows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives by the cells' sums, shape (n_cells, ...), from those by the windows' sums."""
        steps = np.zeros((self.n_cells, *of_windows.shape[1:]))
        np.add.at(steps, self.high, of_windows)
        np.subtract.at(steps, self.low, of_windows)
        return np.cumsum(steps[::-1], axis=0)[::-1]


@numba.njit(cache=True, nogil=True)
def _cells(masses: Any, edges: Any, guide: Any, per_gev: Any) -> Any:
    n, last = len(masses), len(edges)
    cells = np.empty(n, np.int64)
    for i in range(n):
        m = masses[i]
        if not m <= edges[last - 1]:  # NaN too
            cells[i] = last
            continue
        if m <= edges[0]:
            cells[i] = 0
            continue
        j = guide[min(int((m - edges[0]) * per_gev), len(guide) - 1)]
        while j > 0 and edges[j - 1] >= m:
            j -= 1
        while edges[j] < m:
            j += 1
        cells[i] = j
    return cells


@numba.njit(cache=True, nogil=True, fastmath=True)
def _count(
    logits: Any, masses: Any, labels: Any, weights: Any, cells: Any, n_cells: int, low: float, per_gev: float,
    curves: Any, temperature: float, above: Any,
) -> Any:  # fmt: skip
    """Sums by class and cell: rows, weight, and weight above each threshold; fills ``above``, (n, k)."""
    n_grid, k_max = curves.shape
    sums = np.zeros((2, n_cells, 2 + k_max))
    for i in range(len(logits)):
        place = min(max((masses[i] - low) * per_gev, 0.0), n_grid - 1.001)
        j = int(place)
        part = place - j
        to = sums[1 if labels[i] > 0.5 else 0, cells[i]]
        w = weights[i]
        to[0] += 1.0
        to[1] += w
        for k in range(k_max):
            threshold = curves[j, k] + part * (curves[j + 1, k] - curves[j, k])
            p = np.float32(1.0) / (np.float32(1.0) + np.exp(-(logits[i] - threshold) / temperature))
            above[i, k] = p
            to[2 + k] += w * p
    return sums


@numba.njit(cache=True, nogil=True, fastmath=True)
def _back(labels: Any, weights: Any, cells: Any, temperature: float, above: Any, of_cells: Any) -> Any:
    """Derivative of the loss by each logit, from those by the sums above thresholds, (2, n_cells, k)."""
    n, k_max = above.shape
    gradient = np.empty(n, np.float32)
    for i in range(n):
        of_cell = of_cells[1 if labels[i] > 0.5 else 0, cells[i]]
        total = 0.0
        for k in range(k_max):
            total += of_cell[k] * above[i, k] * (1 - above[i, k])
        gradient[i] = total * weights[i] / temperature
    return gradient


@dataclass(frozen=True, eq=False)
class Boundaries:
    """Thresholds on the logit as curves in mass: straight lines between points at even distances.

    Attributes:
        low, high: First and last mass, GeV.
        values: Rising in the second axis, shape (n_grid, n_boundaries).
    """

    low: float
    high: float
    values: NDArray[np.float32]

    @classmethod
    def of(cls, masses: NDArray, values: NDArray) -> Boundaries:
        """Curves through values of shape (n, n_boundaries) at rising masses."""
        low, high = float(masses[0]), float(masses[-1])
        grid = np.linspace(low, high, _N_GRID) if high > low else np.array([low, low + 1e-3])
        curves = [np.interp(grid, masses, column) for column in np.asarray(values, np.float64).T]
        return cls(low, float(grid[-1]), np.stack(curves, axis=1).astype(np.float32))

    @property
    def per_gev(self) -> float:
        """Points of the curves a GeV."""
        return (len(self.values) - 1) / (self.high - self.low)


@dataclass(frozen=True, eq=False)
class SensitivityLoss:
    """Mean over mass hypotheses of the log expected limit, or of Punzi's log minimum cross section.

    Soft categories: an event is above a threshold with the probability sigmoid((logit − threshold)/
    temperature). ``expected_limit`` counts in the categories above the lowest threshold, ``punzi`` above its
    one. What lies below is lost, which tells the score its direction: categories alone do not.

    Yields of a batch estimate those of the sample without bias, but the logarithm of a limit is not linear in
    them: with n_s and n_b rows in a window the loss is off by about 1/(2 n_s) − 1/(4 n_b) per category, whose
    gradient vanishes as 1/n. Windows with less than ``min_rows`` of either class are left out.

    Rows bring their own mass and their yield (signal: any unit; background: expected events, of which only
    ratios matter beside ``expected_background``) in ``beside``.

    Attributes:
        objective: "expected_limit" or "punzi".
        hypotheses: Windows.
        boundaries: Thresholds.
        expected_background: Background of the whole sample in the search's data, events.
        temperature: In units of the logit.
        confidence_level: Of the limit.
        background_error: Relative, of each category on its own.
        min_rows: Of a class in a window.
    """

    objective: Objective
    hypotheses: MassHypotheses
    boundaries: Boundaries
    expected_background: float
    temperature: float = 0.3
    confidence_level: float = 0.95
    background_error: float = 0.0
    min_rows: int = 10

    def __post_init__(self) -> None:
        if self.objective not in ("expected_limit", "punzi"):
            raise ValueError(f"no sensitivity loss {self.objective!r}: choose 'expected_limit' or 'punzi'")
        if self.objective == "punzi" and self.boundaries.values.shape[1] != 1:
            raise ValueError("a Punzi loss has one threshold")
        if not self.temperature > 0 or not self.expected_background > 0:
            raise ValueError("temperature and expected background must be positive")
        object.__setattr__(self, "_windows", Windows(self.hypotheses))

    @property
    def name(self) -> str:
        """It and its numbers."""
        sha = hashlib.sha256()
        h, b = self.hypotheses, self.boundaries
        for values in (h.masses, h.half_width, h.share, b.values, np.array([b.low, b.high])):
            sha.update(np.ascontiguousarray(values).tobytes())
        numbers = (self.expected_background, self.temperature, self.confidence_level, self.background_error)
        return f"{self.objective} {numbers} {self.min_rows} {sha.hexdigest()}"

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        """The loss of a batch, a scalar; 0 with gradient 0 where no window has enough rows."""
        value: Tensor = _Node.apply(logits, rows, self)
        return value

    def of_batch(
        self, logits: NDArray, labels: NDArray, masses: NDArray, yields: NDArray
    ) -> tuple[float, NDArray[np.float32], NDArray[np.float64]]:
        """The loss, its derivative by each logit, and the logarithm at each mass, NaN where it is not used.

        Args:
            logits, labels, masses, yields: Shape (n,).
        """
        windows: Windows = self._windows  # type: ignore[attr-defined]
        logits, labels, masses, yields = (
            np.ascontiguousarray(v, np.float32) for v in (logits, labels, masses, yields)
        )
        n_thresholds = self.boundaries.values.shape[1]
        cells = windows.cells(masses)
        above = np.empty((len(logits), n_thresholds), np.float32)
        temperature = np.float32(self.temperature)
        by_cell = _count(
            logits, masses, labels, yields, cells, windows.n_cells, np.float32(self.boundaries.low),
            np.float32(self.boundaries.per_gev), self.boundaries.values, temperature, above,
        )  # fmt: skip
        b, s = (windows.sums(of_class) for of_class in by_cell)  # (n_masses, 2 + n_thresholds) each
        used = (np.minimum(b[:, 0], s[:, 0]) >= self.min_rows) & (b[:, 1] > 0) & (s[:, 1] > 0)
        by_mass = np.full(len(used), np.nan)
        if not used.any():
            return 0.0, np.zeros(len(logits), np.float32), by_mass
        total = by_cell[0, :, 1].sum()
        to_signal = 1 / s[used, 1:2]
        to_events = (self.expected_background / total * self.hypotheses.share[used])[:, None]
        by_mass[used], of_signal, of_background = self._logarithm(
            s[used, 1:] * to_signal, b[used, 1:] * to_events
        )
        of_windows = np.zeros((2, len(used), n_thresholds))
        n_used = np.count_nonzero(used)
        of_windows[0, used] = of_background * to_events / n_used
        of_windows[1, used] = of_signal * to_signal / n_used
        of_cells = np.stack([windows.transposed(of_class) for of_class in of_windows])
        gradient = _back(labels, yields, cells, temperature, above, of_cells)
        return float(np.mean(by_mass[used])), gradient, by_mass

    def _logarithm(self, signal: NDArray, background: NDArray) -> Gradients:
        """Of yields (n, 1 + n_thresholds), all and above each threshold; derivatives by the latter."""
        floor = 1e-6 * background[:, :1]  # of a category that is empty in the batch
        if self.objective == "punzi":
            values, of_signal, of_background = log_punzi(
                signal[:, 1:] + 1e-6, background[:, 1:] + floor, background_error=self.background_error
            )
            return values[:, 0], of_signal, of_background
        values, of_signal, of_background = log_expected_limits(
            _in_categories(signal[:, 1:]) + 1e-9,
            _in_categories(background[:, 1:]) + floor,
            confidence_level=self.confidence_level,
            background_error=self.background_error,
        )
        # what lies above threshold k is added to category k and taken from the one below
        return values, np.diff(of_signal, axis=1, prepend=0.0), np.diff(of_background, axis=1, prepend=0.0)


def _in_categories(above: NDArray) -> NDArray[np.float64]:
    return np.maximum(-np.diff(above, axis=1, append=0.0), 0.0)


class _Node(torch.autograd.Function):
    """The loss as one node of the graph: it brings its own gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Rows, loss: SensitivityLoss) -> Tensor:
        columns = (logits.detach(), rows.labels, rows.beside[:, 0], rows.beside[:, 1])
        value, gradient, _ = loss.of_batch(*(column.float().cpu().numpy() for column in columns))
        ctx.save_for_backward(torch.from_numpy(gradient).to(logits.device, logits.dtype))
        return logits.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *of_value: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return of_value[0] * gradient, None, None
