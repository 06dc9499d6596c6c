"""Whether more effort is never worse: two choices compared at all masses at once, with paired errors.

At each mass ln(limit of the better / limit of the simpler choice) over its error is a local excess. Among
many masses some are large by chance, and neighbours share events, so the largest one is judged by what the
maximum of all would be were both choices equal everywhere: a Gaussian process of the bootstrap's own
covariance (multiplier bootstrap). An error from R replicates is itself uncertain: an excess counts as
Student's t of R - 1 degrees of freedom.

References:
    S. Holm, Scand. J. Statist. 6 (1979) 65 (several orders).
    V. Chernozhukov, D. Chetverikov and K. Kato, Ann. Statist. 41 (2013) 2786 (maxima by multipliers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

ALPHA = 0.05  # probability by chance, of all orders together, below which one is said to fail
LARGE = 2.0  # σ, from which excesses are counted
_ROUNDING = 1e-3  # relative difference of limits that is none
_N_PROCESSES = 10_000


@dataclass(frozen=True, eq=False)
class Order:
    """Whether the limits of one choice are below those of a simpler one, within errors.

    Attributes:
        simpler: Name of the simpler choice.
        better: Name of the choice that took more effort.
        masses: GeV, shape (n_masses,).
        ratio: Limit of the better over that of the simpler choice, shape (n_masses,); NaN where one is not
            known.
        error: Of the ratio's logarithm, shape (n_masses,).
        excess: Of the logarithm above 0, in standard deviations, shape (n_masses,); NaN where not judged.
        p_value: Probability that the largest excess is as large by chance; 1 where there is none.
    """

    simpler: str
    better: str
    masses: NDArray[np.float64]
    ratio: NDArray[np.float64]
    error: NDArray[np.float64]
    excess: NDArray[np.float64]
    p_value: float

    def to_json(self, adjusted: float | None = None) -> dict[str, Any]:
        """JSON-ready summary; it holds where no excess is more than chance gives.

        Args:
            adjusted: The p-value as one of several orders (``holm``); its own where absent.
        """
        p_adjusted = self.p_value if adjusted is None else adjusted
        judged = np.isfinite(self.excess)
        large = judged & (self.excess > LARGE)
        largest = int(np.nanargmax(self.excess)) if judged.any() else None
        return {
            "simpler": self.simpler,
            "better": self.better,
            "holds": p_adjusted >= ALPHA,
            "judged": int(judged.sum()),
            "worse": int((self.ratio[judged] > 1 + _ROUNDING).sum()),
            "beyond_2_sigma": [
                {"mass": float(m), "sigma": round(float(z), 3), "ratio": round(float(r), 5)}
                for m, z, r in zip(self.masses[large], self.excess[large], self.ratio[large], strict=True)
            ],
            "beyond_2_sigma_by_chance": round(float(judged.sum() * norm.sf(LARGE)), 2),
            "largest_sigma": None if largest is None else round(float(self.excess[largest]), 3),
            "at_mass": None if largest is None else float(self.masses[largest]),
            "p_value": round(self.p_value, 4),
            "p_value_adjusted": round(p_adjusted, 4),
        }


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number: the smallest times n, the next times n - 1, and so on."""
    order = np.argsort(p_values)
    n = len(order)
    steps = np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * (n - np.arange(n)))
    out = np.empty(n)
    out[order] = np.minimum(steps, 1.0)
    return [float(value) for value in out]


def judge_order(
    simpler: str,
    better: str,
    masses: NDArray,
    ratio: NDArray,
    replicates: NDArray,
    spread: NDArray,
    *,
    seed: int = 0,
) -> Order:
    """Judge an order.

    Args:
        simpler: Name of the simpler choice.
        better: Name of the other one.
        masses: GeV, shape (n_masses,).
        ratio: Limit of the better over that of the simpler choice, NaN where one is not known, shape
            (n_masses,).
        replicates: The same by bootstrap replicate, both choices on the same events, shape (n_replicates,
            n_masses).
        spread: Error of the ratio's logarithm by what is modelled, in common at neighbouring masses, shape
            (n_masses,); added in quadrature.
        seed: Of the processes.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(replicates)
    logs = np.where(np.isfinite(logs), logs, np.nan)
    n = len(logs)
    if n < 2:
        nothing = np.full(len(masses), np.nan)
        return Order(simpler, better, masses, ratio, nothing, nothing, 1.0)
    known = np.isfinite(ratio) & np.isfinite(logs).all(axis=0)
    deviations = np.where(known, logs - logs.mean(axis=0), 0.0)
    drawn = np.sqrt(np.sum(deviations**2, axis=0) / (n - 1))
    error = np.where(known, np.hypot(np.maximum(drawn, 1e-12), spread), np.nan)
    with np.errstate(invalid="ignore"):
        local = np.where(np.abs(np.log(ratio)) < _ROUNDING, 0.0, np.log(ratio)) / error
    excess = norm.isf(t.sf(local, n - 1))
    excess = np.where(known, np.clip(excess, -38, 38), np.nan)
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x0DE4,)))
    at = known & (local > -np.inf)
    p_value = 1.0
    if at.any() and np.nanmax(excess) > 0:
        # what is drawn by event, and what families have in common at all masses, of unit variance together
        process = np.concatenate([deviations / np.sqrt(n - 1), spread[None]])[:, at] / error[at]
        maxima = (generator.normal(size=(_N_PROCESSES, n + 1)) @ process).max(axis=1)
        p_value = float((1 + np.sum(maxima >= np.nanmax(excess))) / (_N_PROCESSES + 1))
    return Order(simpler, better, masses, ratio, error, excess, p_value)
