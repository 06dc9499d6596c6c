"""Weights: what a sample is worth in events, and what a policy for negative weights does to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError


def effective_events(weight: ArrayLike) -> float:
    """Number of unweighted events with the same relative error: (Σw)² / Σw², 0 where there are none."""
    w = np.asarray(weight, np.float64)
    squares = float(np.sum(w**2))
    return float(w.sum() ** 2 / squares) if squares > 0 else 0.0


@dataclass(frozen=True)
class MassWindows:
    """Windows in which weights are summed up.

    Attributes:
        column: Column that background and data are binned in; signal is binned in its generated mass.
        edges: Increasing, GeV; a window has its lower edge.
    """

    column: str
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or not (np.diff(self.edges) > 0).all():
            raise InputError(f"mass windows {list(self.edges)}: edges must increase")

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.edges) - 1

    def sums(self, mass: NDArray, weight: NDArray) -> NDArray[np.float64]:
        """Sum of weights in each window, shape (n,); rows outside are in none."""
        return np.histogram(mass, self.edges, weights=weight)[0].astype(np.float64)


def effective_events_in(windows: MassWindows, mass: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """Effective sample size (Σw)² / Σw² of each mass window, shape (n,); 0 where there are no rows."""
    sums, squares = windows.sums(mass, weight), windows.sums(mass, weight**2)
    return np.divide(sums**2, squares, out=np.zeros(windows.n), where=squares > 0)


@dataclass(frozen=True)
class PolicyEffect:
    """What a policy for negative weights changed, of a whole sample and by mass window.

    Attributes:
        policy: ``error`` (there were none), ``keep``, ``drop`` or ``rescale``.
        n_rows: Rows before it.
        n_negative: Rows of negative weight among them.
        sum_before: Sum of their weights.
        sum_after: Sum of the weights that the policy leaves.
        edges: Of the windows; empty where none were asked for.
        before: Sums of weights in the windows before it.
        after: And after it.
    """

    policy: str
    n_rows: int = 0
    n_negative: int = 0
    sum_before: float = 0.0
    sum_after: float = 0.0
    edges: tuple[float, ...] = ()
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()

    @property
    def change(self) -> float | None:
        """Relative change of the sample's total weight; None where that was zero."""
        return self.sum_after / self.sum_before - 1 if self.sum_before else None

    @property
    def changes(self) -> tuple[float | None, ...]:
        """The same in each window."""
        pairs = zip(self.before, self.after, strict=True)
        return tuple(after / before - 1 if before else None for before, after in pairs)

    def scaled(self, factor: float) -> PolicyEffect:
        """The same for weights times a factor."""
        return replace(
            self,
            sum_before=self.sum_before * factor,
            sum_after=self.sum_after * factor,
            before=tuple(value * factor for value in self.before),
            after=tuple(value * factor for value in self.after),
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PolicyEffect:
        """What ``to_json`` gave."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        return cls(**fields)

    def __str__(self) -> str:
        if not self.n_negative:
            return f"{self.n_rows} rows, no negative weight"
        change = "" if self.change is None else f"; the total changes by {100 * self.change:+.3g} %"
        known = [value for value in self.changes if value is not None]
        worst = f", a mass window by up to {100 * max(map(abs, known)):.3g} %" if known else ""
        return f"{self.n_negative} of {self.n_rows} rows have a negative weight: {self.policy}{change}{worst}"


def rescaling(signed_sum: float, absolute_sum: float, place: str) -> float:
    """Factor on |w| that keeps a sample's total weight: Σw / Σ|w|.

    Raises:
        InputError: If the total is not above zero: no positive weights can have it.
    """
    if absolute_sum == 0:
        return 1.0
    if not signed_sum > 0:
        raise InputError(
            f"{place}: its weights add up to {signed_sum:.6g}, which no rescaled positive weights do; "
            "take negative_weights: keep or drop"
        )
    return signed_sum / absolute_sum
