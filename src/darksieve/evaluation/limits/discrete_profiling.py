"""Discrete profiling: with several backgrounds in a channel the likelihood is the envelope of all of them.

At every signal strength the best background wins, after a penalty of one unit of −2 ln L for each of its
parameters: the choice of function becomes a nuisance, which widens the likelihood where functions disagree.

References:
    P. D. Dauncey, M. Kenzie, N. Wardle, G. J. Davies, JINST 10 (2015) P04015.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from darksieve.evaluation.limits.asimov import band_levels, limit_significance
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import LimitArrays, fit, upper_limits
from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.problem import Floats, ProblemBatch

PENALTY = 0.5  # of −ln L, per parameter
MAX_CHOICES = 64


def has_several_backgrounds(model: SearchModel, point: int) -> bool:
    """Whether any channel of a point has more than one background."""
    hypothesis = model.points[point]
    return any(len(model.background_of(hypothesis, name)) > 1 for name in hypothesis.channels)


class Envelope:
    """The penalised likelihoods of all choices of backgrounds for the same data.

    Args:
        batches: One per choice, with the same problems and rows.
        threads: Passed to the engine.
    """

    def __init__(self, batches: Sequence[ProblemBatch], threads: int | None = None) -> None:
        self.batches = list(batches)
        self.threads = threads
        self.penalty = np.array([PENALTY * batch.structure.n_parameters for batch in batches])

    def minima(self, strength: Floats | None) -> tuple[Floats, NDArray[np.int64], Floats, list[Floats]]:
        """−ln L of the envelope, the choice that wins, its strength, and every choice's parameters.

        Args:
            strength: Fixed, shape (n_problems,); None fits it.
        """
        found = [fit(batch, strength, threads=self.threads) for batch in self.batches]
        values = np.array([one.nll for one in found]) + self.penalty
        failed = np.array([[status == "failed" for status in one.status] for one in found])
        values = np.where(failed | ~np.isfinite(values), np.inf, values)
        best = np.argmin(values, axis=0)
        rows = np.arange(values.shape[1])
        strengths = np.array([one.strength for one in found])[best, rows]
        return values[best, rows], best, strengths, [one.parameters for one in found]


def _solve(function: Callable[[Floats], Floats], low: Floats, high: Floats, n_steps: int = 14) -> Floats:
    """Roots of rising functions of many problems at once (Illinois); NaN where there is no bracket."""
    f_low, f_high = function(low), function(high)
    good = (f_low <= 0) & (f_high >= 0)
    x = high.copy()
    side = np.zeros(low.size, np.int64)
    for _ in range(n_steps):
        with np.errstate(invalid="ignore", divide="ignore"):
            x = (low * f_high - high * f_low) / (f_high - f_low)
        x = np.where(np.isfinite(x) & (x > low) & (x < high), x, 0.5 * (low + high))
        value = function(x)
        right = value > 0
        f_low = np.where(right & (side == 1), f_low / 2, f_low)
        f_high = np.where(~right & (side == -1), f_high / 2, f_high)
        high, f_high = np.where(right, x, high), np.where(right, value, f_high)
        low, f_low = np.where(right, low, x), np.where(right, f_low, value)
        side = np.where(right, 1, -1)
    return np.where(good, x, np.nan)


def _bracket(function: Callable[[Floats], Floats], start: Floats) -> Floats:
    high = start.copy()
    for _ in range(30):
        short = function(high) < 0
        if not short.any():
            break
        high = np.where(short, 1.6 * high, high)
    return high


def _with_data(batch: ProblemBatch, counts: Floats, auxiliary: Floats | None) -> ProblemBatch:
    made = batch.with_counts(counts)
    if auxiliary is None or auxiliary.shape != made.structure.auxiliary.shape:
        return made
    return replace(made, structure=made.structure._replace(auxiliary=auxiliary))


def _asimov(
    batches: Sequence[ProblemBatch], best: NDArray[np.int64], parameters: Sequence[Floats]
) -> Envelope:
    first = batches[0]
    counts = np.zeros(first.rows.counts.size)
    auxiliary = np.array(first.structure.auxiliary)
    for p in range(first.n_problems):
        batch, x = batches[best[p]], parameters[best[p]][p]
        problem = MinuitProblem(batch, p, batch.rows)
        begin, end = batch.rows.start[p, 0], batch.rows.start[p, -1]
        counts[begin:end] = np.maximum(problem.expectation(np.array(x[: problem.n])), 0.0)
        if batch.n_nuisances == auxiliary.shape[1]:
            auxiliary[p] = x[problem.strength + 1 : problem.n]
    return Envelope([_with_data(batch, counts, auxiliary) for batch in batches])


def limits_with_choices(
    model: SearchModel,
    points: Sequence[int],
    *,
    confidence_level: float = 0.95,
    test_statistic: Literal["qtilde", "q"] = "qtilde",
    bands: Literal["sigma", "quantile"] = "sigma",
    cls_at: float | None = None,
    threads: int | None = None,
) -> tuple[LimitArrays, tuple[str, ...]]:
    """Asymptotic limits from the envelope of all backgrounds, and which of them fit best.

    Data given as values are fitted in fine bins. While blind the first background of each list is expected.

    Args:
        model: The document.
        points: Positions in ``model.points``.

    Returns:
        Limits as from the engine, and the best background of each point as text.

    Raises:
        ValueError: If the lists make more than ``MAX_CHOICES`` combinations.
    """
    names = sorted({name for i in points for name in model.points[i].channels})
    sizes = [
        max(len(model.background_of(model.points[i], n)) for i in points if n in model.points[i].channels)
        for n in names
    ]
    if int(np.prod(sizes)) > MAX_CHOICES:
        raise ValueError(
            f"{int(np.prod(sizes))} combinations of backgrounds; at most {MAX_CHOICES} are tried"
        )
    choices = [dict(zip(names, c, strict=True)) for c in itertools.product(*(range(size) for size in sizes))]
    batches = [compile_search(model, points=points, choice=choice, unbinned=False) for choice in choices]
    blind = batches[0].blind
    base = upper_limits(
        batches[0],
        confidence_level=confidence_level,
        bands=bands,
        observed=False,
        errors=False,
        threads=threads,
    )
    n = batches[0].n_problems
    zero = np.zeros(n)
    if blind:
        best_at_zero = np.zeros(n, np.int64)
        at_zero = [np.array(batch.structure.start) for batch in batches]
        chosen = best_at_zero
    else:
        data = Envelope(batches, threads)
        nll_zero, best_at_zero, _, at_zero = data.minima(zero)
        nll_best, chosen, strength, _ = data.minima(None)
    asimov = _asimov(batches, best_at_zero, at_zero)
    reference = asimov.minima(zero)[0]

    def q_asimov(mu: Floats) -> Floats:
        return np.maximum(2 * (asimov.minima(mu)[0] - reference), 0.0)

    levels = np.array(band_levels(bands))
    targets = np.atleast_1d(limit_significance(confidence_level, levels))
    scale = np.where(np.isfinite(base.expected[:, 2]), base.expected[:, 2], 1.0)
    expected = np.full((n, levels.size), np.nan)
    for k, target in enumerate(targets):

        def rise(mu: Floats, target: float = float(target)) -> Floats:
            return np.sqrt(q_asimov(mu)) - target

        high = _bracket(rise, 1.3 * scale * target / targets[2])
        expected[:, k] = _solve(rise, zero + 1e-6 * scale, high)
    empty = np.full(n, np.nan)
    answer = replace(
        base,
        expected=expected,
        observed=empty,
        best_fit=empty,
        best_fit_error=np.full((n, 2), np.nan),
        p0=empty,
        significance=empty,
    )
    tilde = test_statistic == "qtilde"
    if cls_at is not None:
        root = np.sqrt(q_asimov(zero + cls_at))[:, None]
        answer = replace(answer, cls_expected=np.exp(log_ndtr(levels - root) - log_ndtr(levels)))
    if not blind:

        def q_data(mu: Floats) -> Floats:
            least = np.where((strength < 0) & tilde, nll_zero, nll_best)
            return np.where(strength > mu, 0.0, np.maximum(2 * (data.minima(mu)[0] - least), 0.0))

        def log_cls(mu: Floats) -> Floats:
            q, a = q_data(mu), np.maximum(q_asimov(mu), 1e-12)
            root, root_a = np.sqrt(q), np.sqrt(a)
            far = tilde & (q > a)
            signal = np.where(far, (q + a) / (2 * root_a), root)
            background = np.where(far, (q - a) / (2 * root_a), root - root_a)
            return np.asarray(log_ndtr(-signal) - log_ndtr(-background))

        log_alpha = np.log1p(-confidence_level)

        def excluded(mu: Floats) -> Floats:
            return log_alpha - log_cls(mu)

        high = _bracket(excluded, np.maximum(strength, 0) + 1.2 * expected[:, 2])
        observed = _solve(excluded, np.maximum(strength, 0) + 1e-6 * scale, high, 20)
        significance = np.copysign(np.sqrt(np.maximum(2 * (nll_zero - nll_best), 0.0)), strength)
        errors = np.full((n, 2), np.nan)
        for side, sign in enumerate((-1.0, 1.0)):

            def drop(step: Floats, sign: float = sign) -> Floats:
                return data.minima(strength + sign * step)[0] - nll_best - 0.5

            errors[:, side] = sign * _solve(drop, zero, _bracket(drop, 0.6 * scale))
        answer = replace(
            answer,
            observed=observed,
            best_fit=strength,
            best_fit_error=errors,
            p0=np.asarray(ndtr(-significance)),
            significance=significance,
        )
        if cls_at is not None:
            answer = replace(answer, cls_observed=np.exp(log_cls(zero + cls_at)))
    finite = np.isfinite(expected).all(axis=1) & (np.isfinite(answer.observed) | blind)
    answer = replace(answer, status=tuple("converged" if good else "failed" for good in finite))
    return answer, tuple(_named(model, i, choices[k]) for i, k in zip(points, chosen, strict=True))


def _named(model: SearchModel, point: int, choice: dict[str, int]) -> str:
    parts = []
    for name in model.points[point].channels:
        options = model.background_of(model.points[point], name)
        if len(options) > 1:
            background = options[min(choice[name], len(options) - 1)]
            order = getattr(background, "order", None)
            parts.append(f"{name}: {background.family}" + ("" if order is None else f" {order}"))
    return ", ".join(parts)
