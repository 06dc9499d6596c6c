"""Closure of a score's interpolation in mass: trained at masses apart, tested there, between and beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError
from darksieve.evaluation.score_comparison import ScoreComparison, compare_scores
from darksieve.models.likelihood_ratio import mean_ratio_in_mass
from darksieve.training.mass_matching import match_masses

TRAINED, BETWEEN, BEYOND = "trained", "between", "beyond"
FEWEST_ROWS = 1000  # of each class in a window
N_BINS = 20  # of equal signal: with a hundred the few events of each would hide what is looked for


@dataclass(frozen=True)
class TestMass:
    """A mass to test at.

    Attributes:
        mass: GeV.
        kind: ``trained``, ``between`` two masses that train, or ``beyond`` the last of them.
    """

    __test__ = False  # no test, whatever its name begins with

    mass: float
    kind: str


@dataclass(frozen=True)
class ClosurePoint:
    """What a score loses at one mass.

    Attributes:
        mass, kind: As of :class:`TestMass`.
        n_signal, n_background: Rows of the window.
        comparison: With the reference; None where there are too few rows.
    """

    mass: float
    kind: str
    n_signal: int
    n_background: int
    comparison: ScoreComparison | None

    def to_json(self) -> dict[str, Any]:
        found = None if self.comparison is None else asdict(self.comparison)
        return {
            "mass": self.mass,
            "kind": self.kind,
            "n_signal": self.n_signal,
            "n_background": self.n_background,
            "comparison": found,
        }


def nodes_and_tests(low: float, high: float, spacing: float) -> tuple[list[float], list[TestMass]]:
    """Multiples of the spacing in a range, to train at; these, those midway and the range's ends, to test.

    Raises:
        InputError: If fewer than two masses lie in the range.
    """
    first, last = max(math.ceil(low / spacing), 1), math.floor(high / spacing)
    nodes = [round(spacing * k, 9) for k in range(first, last + 1)]
    if len(nodes) < 2:
        raise InputError(
            f"interpolation.spacing is {spacing:g} GeV: {len(nodes)} of its multiples lie between {low:g} and"
            f" {high:g} GeV, and two are needed"
        )
    tests = [TestMass(mass, TRAINED) for mass in nodes]
    tests += [TestMass(round(mass + spacing / 2, 9), BETWEEN) for mass in nodes[:-1]]
    tests += [TestMass(low, BEYOND)] if low < nodes[0] - 0.25 * spacing else []
    tests += [TestMass(high, BEYOND)] if high > nodes[-1] + 0.25 * spacing else []
    return nodes, sorted(tests, key=lambda test: test.mass)


def near(mass: NDArray, masses: Sequence[float], reach: float) -> NDArray[np.bool_]:
    """Which rows lie within a reach of any of the masses (GeV), shape (n,)."""
    found = np.zeros(len(mass), dtype=bool)
    for one in masses:
        found |= np.abs(mass - one) < reach
    return found


def close_in_mass(
    score: NDArray,
    reference: NDArray,
    mass: NDArray,
    is_signal: NDArray[np.bool_],
    weight: NDArray,
    tests: Sequence[TestMass],
    *,
    reach: float,
    up_to_mass: bool = False,
    seed: int = 0,
) -> list[ClosurePoint]:
    """Compare a score with a reference at some masses, on background with the signal's masses.

    Args:
        score, reference: Of the same rows, by models that have not seen them, shape (n,).
        mass: Own mass of each candidate, GeV, shape (n,).
        weight: Not negative, shape (n,).
        reach: Half width of the windows, GeV.
        up_to_mass: The reference is known up to a factor that depends on the mass, and is a logarithm.
        seed: Of the bootstrap.
    """
    points = []
    for test in tests:
        rows = np.flatnonzero((np.abs(mass - test.mass) < reach) & (weight > 0))
        own = is_signal[rows]
        counts = int(own.sum()), int((~own).sum())
        comparison = None
        if min(counts) >= FEWEST_ROWS:
            m, w, of_reference = mass[rows], weight[rows], reference[rows].astype(np.float64)
            if up_to_mass:
                of_reference = of_reference - mean_ratio_in_mass(of_reference[~own], m[~own], w[~own])(m)
            w = w * match_masses(m, own, w).factor(m, own)
            comparison = compare_scores(score[rows], of_reference, own, w, n_bins=N_BINS, seed=seed)
        points.append(ClosurePoint(test.mass, test.kind, *counts, comparison))
    return points
