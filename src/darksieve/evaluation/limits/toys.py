"""CLs by pseudo-experiments: all nuisances profiled in each toy, their constraints sampled.

Toys are made from the parameters fitted to the data, with the strength fixed to the one that is tested (for
CLs+b) and to zero (for CLb); a blind batch takes its nominal parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from darksieve.evaluation.limits.asimov import band_levels
from darksieve.evaluation.limits.compilation import run_in_threads
from darksieve.evaluation.limits.engine import fit
from darksieve.evaluation.limits.problem import Floats, ProblemBatch
from darksieve.evaluation.limits.toy_kernel import WITH_SIGNAL, WITHOUT_SIGNAL, run_toys

TOY_TOLERANCE = 1e-5  # of the NLL; the last step's gain is included, so q is good to much better
TIE = 1e-5  # toys this close to the observed q count as equal: discrete counts, fits to finite precision


@dataclass(frozen=True, eq=False)
class ToyCls:
    """CLs at one strength of one problem, from toys; sets with other toys of the same test can be merged.

    Attributes:
        strength: Tested strength, in units of the parameter.
        q_observed: Test statistic q̃ of the data, NaN while blind.
        q_with_signal: Of the toys with signal, shape (n_toys,); failed fits are left out.
        q_without_signal: Of the toys without.
        n_failed: Toys whose fits did not converge, of both kinds.
        first_toy, n_toys: The range of the streams, for the next set.
    """

    strength: float
    q_observed: float
    q_with_signal: Floats
    q_without_signal: Floats
    n_failed: int
    first_toy: int
    n_toys: int

    @property
    def cls_plus_b(self) -> float:
        """P(q ≥ observed) with signal."""
        return _tail(self.q_with_signal, self.q_observed)

    @property
    def cl_b(self) -> float:
        """P(q ≥ observed) without signal."""
        return _tail(self.q_without_signal, self.q_observed)

    @property
    def cls(self) -> float:
        """CLs+b / CLb of the data; NaN while blind."""
        return self.cls_plus_b / self.cl_b if self.cl_b > 0 else math.nan

    @property
    def cls_error(self) -> float:
        """Binomial error of ``cls``."""
        return self._error(self.cls_plus_b, self.cl_b)

    def cls_expected(self, levels: ArrayLike | None = None) -> Floats:
        """CLs at the quantiles of q of the toys without signal; −2 … +2 standard deviations by default."""
        wanted = np.asarray(band_levels() if levels is None else levels, np.float64)
        # a downward fluctuation (low level, strong limit) has a large q
        q = np.quantile(self.q_without_signal, 1 - ndtr(wanted), method="nearest")
        return np.array([_tail(self.q_with_signal, x) / _tail(self.q_without_signal, x) for x in q])

    def cls_expected_error(self, levels: ArrayLike | None = None) -> Floats:
        """Binomial errors of ``cls_expected``, at the quantiles themselves."""
        wanted = np.asarray(band_levels() if levels is None else levels, np.float64)
        b = ndtr(wanted)
        return np.array([self._error(x * y, y) for x, y in zip(self.cls_expected(wanted), b, strict=True)])

    def _error(self, p_sb: float, p_b: float) -> float:
        n_sb, n_b = max(self.q_with_signal.size, 1), max(self.q_without_signal.size, 1)
        if not p_b > 0:
            return math.nan
        low = max(p_sb, 1.0 / n_sb)  # no toy beyond: the error of one
        relative = max(1 - low, 0.0) / (low * n_sb) + (1 - p_b) / (p_b * n_b)
        return max(p_sb, low) / p_b * math.sqrt(relative)

    def merged(self, other: ToyCls) -> ToyCls:
        """Both sets of toys together.

        Raises:
            ValueError: If the sets test different strengths or data, or share toys.
        """
        if other.strength != self.strength or not np.isclose(
            other.q_observed, self.q_observed, equal_nan=True
        ):
            raise ValueError("toys of different tests cannot be merged")
        if self.first_toy < other.first_toy + other.n_toys and other.first_toy < self.first_toy + self.n_toys:
            raise ValueError("the two sets share toys: give the second a first_toy beyond the first's")
        return ToyCls(
            self.strength,
            self.q_observed,
            np.concatenate([self.q_with_signal, other.q_with_signal]),
            np.concatenate([self.q_without_signal, other.q_without_signal]),
            self.n_failed + other.n_failed,
            min(self.first_toy, other.first_toy),
            max(self.first_toy + self.n_toys, other.first_toy + other.n_toys)
            - min(self.first_toy, other.first_toy),
        )


def _tail(q: Floats, threshold: float) -> float:
    if q.size == 0 or math.isnan(threshold):
        return math.nan
    return float(np.mean(q >= threshold - TIE * max(1.0, abs(threshold))))


def toy_cls(
    batch: ProblemBatch,
    mu: ArrayLike,
    n_toys: int,
    *,
    seed: int = 0,
    first_toy: int = 0,
    problems: NDArray[np.int64] | list[int] | None = None,
    threads: int | None = None,
) -> list[ToyCls]:
    """CLs of each problem at a strength, from n_toys toys with and n_toys without signal.

    The counts of a toy depend on (seed, problem, hypothesis, toy) only, and its fits on nothing else: the
    same numbers for any number of threads or portions. Data given as values are tested on their fine bins.

    Args:
        mu: Tested strength in units of the parameter, > 0: a number or one per problem.
        first_toy: Number of the first toy; another set with other numbers can be merged.
        problems: Which problems; None for all.

    Raises:
        ValueError: If a strength is not positive.
    """
    chosen = range(batch.n_problems) if problems is None else problems
    strengths = np.broadcast_to(np.asarray(mu, np.float64), (batch.n_problems,))
    lower = batch.structure.lower.copy()
    for p in range(batch.n_problems):
        lower[p, batch.strength_index(p)] = 0.0  # q̃
    bounded = replace(batch, structure=batch.structure._replace(lower=lower), events=None)
    results = []
    for p in chosen:
        strength = float(strengths[p])
        if not (math.isfinite(strength) and strength > 0):
            raise ValueError(f"strength {strength} of {batch.labels[p]}: toys test a positive one")
        q_observed, generated = _truth(bounded, int(p), strength)
        q = np.full((2, n_toys), np.nan)
        if np.all(np.isfinite(generated)):
            _run(bounded, int(p), strength, generated, seed, first_toy, threads, q)
        good = [x[np.isfinite(x)] for x in q]
        n_failed = int(np.sum(~np.isfinite(q)))
        results.append(
            ToyCls(strength, q_observed, good[WITH_SIGNAL], good[WITHOUT_SIGNAL], n_failed, first_toy, n_toys)
        )
    return results


def _truth(bounded: ProblemBatch, p: int, strength: float) -> tuple[float, Floats]:
    """q̃ of the data, NaN while blind, and the parameters with and without signal; NaN if a fit fails."""
    n = int(bounded.structure.n_parameters[p])
    if bounded.blind:
        nominal = np.repeat(bounded.structure.start[p : p + 1, :n], 2, axis=0)
        nominal[:, bounded.strength_index(p)] = strength * bounded.events_per_unit[p], 0.0
        return math.nan, nominal
    one = bounded.subset(np.array([p]))
    tested, zero, best = (fit(one, mu, threads=1) for mu in (strength, 0.0, None))
    parameters = np.stack([tested.parameters[0, :n], zero.parameters[0, :n]])
    nll = min(best.nll[0], zero.nll[0]) if np.isfinite(best.nll[0]) else np.nan
    if best.strength[0] >= strength:
        return 0.0, parameters
    return float(max(2 * (tested.nll[0] - nll), 0.0)), parameters


def _run(
    bounded: ProblemBatch,
    p: int,
    strength: float,
    generated: Floats,
    seed: int,
    first_toy: int,
    threads: int | None,
    q: Floats,
) -> None:
    events = strength * float(bounded.events_per_unit[p])
    for hypothesis in (WITH_SIGNAL, WITHOUT_SIGNAL):
        truth, values = np.ascontiguousarray(generated[hypothesis]), q[hypothesis]

        def run(
            begin: int, end: int, truth: Floats = truth, values: Floats = values, k: int = hypothesis
        ) -> None:
            run_toys(
                bounded.rows, bounded.structure, p, events, truth, seed, p, first_toy, TOY_TOLERANCE, k,
                values, begin, end,
            )  # fmt: skip

        run_in_threads(run, q.shape[1], threads)
