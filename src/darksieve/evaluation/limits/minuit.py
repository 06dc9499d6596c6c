"""Independent fits of single problems by iminuit: for those where the batched solver does not converge."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import log_ndtr, ndtr

from darksieve.evaluation.limits.asymptotics import (
    BEST,
    CLS,
    EDM,
    ERROR_HIGH,
    ERROR_LOW,
    FIRST_LEVEL,
    NEAR_PEAK,
    NLL_BEST,
    NLL_ZERO,
    OBSERVED,
    SIGNIFICANCE,
    WANT_ERRORS,
    WANT_EXPECTED,
    WANT_OBSERVED,
)
from darksieve.evaluation.limits.derivatives import differentiate
from darksieve.evaluation.limits.likelihood import (
    barrier_value,
    evaluate,
    set_expectation,
)
from darksieve.evaluation.limits.problem import Floats, ProblemBatch, Rows
from darksieve.evaluation.limits.scratch import make_scratch, set_counts


class FitError(RuntimeError):
    """No valid minimum was found."""


class MinuitProblem:
    """The likelihood of one problem with given data, minimised by MIGRAD with the exact gradient."""

    def __init__(
        self,
        batch: ProblemBatch,
        problem: int,
        rows: Rows,
        counts: Floats | None = None,
        auxiliary: Floats | None = None,
    ) -> None:
        self.structure, self.rows, self.problem = batch.structure, rows, problem
        self.n = int(batch.structure.n_parameters[problem])
        self.strength = batch.strength_index(problem)
        self.scratch = make_scratch(rows, batch.structure, problem)
        origin = 0 if counts is not None else int(rows.start[problem, 0])
        set_counts(
            self.scratch,
            rows.counts if counts is None else counts,
            origin,
            batch.structure.auxiliary[problem] if auxiliary is None else auxiliary,
        )

    def value(self, x: Floats) -> float:
        """Negative log-likelihood."""
        return float(
            evaluate(self.rows, self.structure, self.problem, np.asarray(x, np.float64), self.scratch)
        )

    def gradient(self, x: Floats) -> Floats:
        """Its gradient."""
        parameters = np.asarray(x, np.float64)
        evaluate(self.rows, self.structure, self.problem, parameters, self.scratch)
        differentiate(self.rows, self.structure, self.problem, parameters, self.scratch, True)
        return np.array(self.scratch.gradient)

    def expectation(self, x: Floats) -> Floats:
        """Expected events of every row."""
        set_expectation(self.rows, self.structure, self.problem, np.asarray(x, np.float64), self.scratch)
        return np.maximum(self.scratch.nu, 0.0)

    def _approach(self, x: Floats, lower: Floats, upper: Floats, mu: float | None) -> Floats:
        # MIGRAD's transformed parameters do not leave a bound they start on: first a method with true bounds
        low, high = lower.copy(), upper.copy()
        if mu is not None:
            low[self.strength] = high[self.strength] = mu
        options = {"maxiter": 2000, "maxfun": 10000, "ftol": 1e-14, "gtol": 1e-8}
        found = minimize(
            self.value, x, jac=self.gradient, method="L-BFGS-B", bounds=list(zip(low, high, strict=True)),
            options=options,
        )  # fmt: skip
        return np.asarray(found.x) if np.isfinite(found.fun) else x

    def fit(self, start: Floats, mu: float | None = None) -> tuple[float, Floats, float]:
        """Minimise, at fixed μ if it is given.

        Returns:
            NLL, parameters, EDM.

        Raises:
            FitError: If no attempt ends in a valid minimum.
        """
        from iminuit import Minuit

        best: tuple[float, Floats, float] | None = None
        lower = self.structure.lower[self.problem, : self.n]
        upper = self.structure.upper[self.problem, : self.n]
        for attempt in range(4):
            x = np.clip(np.array(start[: self.n]), lower, upper)
            if mu is not None:
                x[self.strength] = mu
            x = self._approach(x, lower, upper, mu)
            minuit: Any = Minuit(self.value, x, grad=self.gradient)
            minuit.errordef = Minuit.LIKELIHOOD
            minuit.strategy = min(attempt, 2)
            minuit.tol = 1e-3
            for i in range(self.n):
                minuit.limits[i] = (
                    None if np.isneginf(lower[i]) else lower[i],
                    None if np.isposinf(upper[i]) else upper[i],
                )
                minuit.errors[i] = max(0.1 * abs(x[i]), 1e-3 if i < self.strength else 0.1)
            minuit.fixed[self.strength] = mu is not None
            if attempt == 3:
                minuit.simplex(ncall=20000)
            minuit.migrad(ncall=20000)
            if np.isfinite(minuit.fval) and (minuit.valid or minuit.fmin.edm < 1e-5):
                values = np.array(minuit.values)
                value = self.value(values) - float(barrier_value(self.scratch))
                found = (value, values, float(minuit.fmin.edm))
                if best is None or found[0] < best[0]:
                    best = found
                if attempt > 0 or minuit.fmin.edm < 1e-6:
                    break
        if best is None:
            raise FitError("MIGRAD found no valid minimum")
        return best


def solve_by_minuit(
    batch: ProblemBatch,
    problem: int,
    want: int,
    levels: Floats,
    targets: Floats,
    alpha: float,
    tilde: bool,
    at: float,
) -> Floats:
    """The numbers of ``asymptotics.solve_one`` by MIGRAD and a bracketing root finder.

    Raises:
        FitError: If a fit fails or a root is not bracketed.
    """
    numbers = np.full(FIRST_LEVEL + 2 * levels.size, np.nan)
    numbers[EDM] = 0.0
    x_zero = batch.structure.start[problem].copy()
    best, reference, width = 0.0, 0.0, 1.0
    x_best = x_zero
    data: MinuitProblem | None = None
    if not batch.blind:
        data = MinuitProblem(batch, problem, batch.observed)
        nll_zero, x_zero, edm = data.fit(x_zero, 0.0)
        nll_best, x_best, edm_best = data.fit(x_zero)
        if nll_best > nll_zero:
            nll_best, x_best = nll_zero, x_zero
        best = float(x_best[data.strength])
        gain = math.sqrt(max(2 * (nll_zero - nll_best), 0.0))
        numbers[[BEST, NLL_BEST, NLL_ZERO, EDM]] = best, nll_best, nll_zero, max(edm, edm_best)
        numbers[SIGNIFICANCE] = gain if best > 0 else -gain
        reference = nll_zero if tilde and best < 0 else nll_best
        width = abs(best) / gain if gain > 1e-3 else 1.0
        if want & WANT_ERRORS:
            for column, sign in ((ERROR_LOW, -1.0), (ERROR_HIGH, 1.0)):
                numbers[column] = sign * _crossing(data, x_best, best, nll_best, sign, width)
    if not want & (WANT_EXPECTED | WANT_OBSERVED):
        return numbers
    on_bins = MinuitProblem(batch, problem, batch.rows)
    background = np.array(x_zero[: on_bins.n])
    background[on_bins.strength] = 0.0
    counts = on_bins.expectation(background)
    begin = int(batch.rows.start[problem, 0])
    numbers[NEAR_PEAK] = float(counts @ batch.rows.near_peak[begin : begin + counts.size])
    asimov = MinuitProblem(batch, problem, batch.rows, counts, background[on_bins.strength + 1 :])

    def root_of_q(mu: float) -> float:
        return math.sqrt(max(2 * asimov.fit(background, mu)[0], 0.0))

    for k, target in enumerate(targets):
        start = width if k == 0 else float(numbers[FIRST_LEVEL + k - 1])
        numbers[FIRST_LEVEL + k] = _root(lambda mu, goal=target: root_of_q(mu) - goal, start)  # type: ignore[misc]
    if not math.isnan(at):
        root = root_of_q(at)
        numbers[FIRST_LEVEL + levels.size :] = ndtr(levels - root) / ndtr(levels)
    if data is None:
        return numbers

    def conditional(mu: float) -> float:
        return min(data.fit(start, mu)[0] for start in (x_best, x_zero))

    def log_cls(mu: float) -> float:
        q = 0.0 if mu <= best else max(2 * (conditional(mu) - reference), 0.0)
        root_a = max(root_of_q(mu), 1e-150)
        if tilde and q > root_a**2:
            return float(
                log_ndtr(-(q + root_a**2) / (2 * root_a)) - log_ndtr(-(q - root_a**2) / (2 * root_a))
            )
        return float(log_ndtr(-math.sqrt(q)) - log_ndtr(root_a - math.sqrt(q)))

    if not math.isnan(at):
        numbers[CLS] = math.exp(log_cls(at))
    if want & WANT_OBSERVED:
        median = float(numbers[FIRST_LEVEL + levels.size // 2])
        numbers[OBSERVED] = _root(lambda mu: math.log(alpha) - log_cls(mu), max(median, best))
    return numbers


def _root(function: Callable[[float], float], start: float) -> float:
    """Where a rising function of μ > 0 crosses zero."""
    low = high = max(start, 1e-9)
    for _ in range(60):
        if function(low) < 0:
            break
        low /= 2
    else:
        raise FitError("no lower bracket")
    for _ in range(60):
        if function(high) > 0:
            break
        high *= 2
    else:
        raise FitError("no upper bracket")
    return float(brentq(function, low, high, rtol=1e-8)) if low < high else low


def _crossing(
    data: MinuitProblem, x_best: Floats, best: float, nll_best: float, sign: float, width: float
) -> float:
    def rise(distance: float) -> float:
        return 2 * (data.fit(x_best, best + sign * distance)[0] - nll_best) - 1.0

    try:
        return _root(rise, width)
    except FitError:
        return math.nan
