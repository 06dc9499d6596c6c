"""Goodness of fit of a window: the saturated likelihood's χ² against its asymptotic law, or toys.

References:
    S. Baker and R. D. Cousins, Nucl. Instrum. Meth. 221 (1984) 437.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.special import chdtrc, xlogy

from darksieve.evaluation.limits.curve import GoodnessOfFit
from darksieve.evaluation.limits.engine import CONVERGED, fit
from darksieve.evaluation.limits.family_curve import n_background_parameters
from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.problem import Floats, Integers, ProblemBatch
from darksieve.evaluation.limits.search_toys import TOLERANCE, toy_batch

LEAST_EXPECTED = 5.0  # events in a bin, below which neighbours are merged


def goodness_of_fits(
    batch: ProblemBatch, *, least: float = LEAST_EXPECTED, threads: int | None = None
) -> list[GoodnessOfFit | None]:
    """χ² of every problem's fit with free signal, in bins, with its asymptotic p-value.

    Neighbouring bins of a channel are merged after the fit until ``least`` events are expected in each; pulls
    of nuisances are part of the χ², and their constraints of the degrees of freedom.

    Args:
        batch: The problems; data given as values are tested on their bins.
        least: Expected events in a merged bin.
        threads: At most so many.

    Returns:
        One per problem; None while blind, where the fit fails, or without a degree of freedom.
    """
    if batch.blind:
        return [None] * batch.n_problems
    binned = replace(batch, events=None)
    found = fit(binned, threads=threads)
    n_parameters = n_background_parameters(batch) + 1
    results: list[GoodnessOfFit | None] = []
    for p in range(batch.n_problems):
        results.append(None)
        if found.status[p] != CONVERGED:
            continue
        expected, counts, pulls = _expectation(binned, p, found.parameters[p])
        groups = _merged(binned, p, expected, least)
        mu, n = np.bincount(groups, expected), np.bincount(groups, counts)
        n_dof = mu.size - int(n_parameters[p])
        if n_dof < 1:
            continue
        chi2 = max(float(2 * (mu - n + xlogy(n, n / mu)).sum() + pulls @ pulls), 0.0)
        results[p] = GoodnessOfFit(chi2=chi2, n_dof=n_dof, p_value=float(chdtrc(n_dof, chi2)))
    return results


def goodness_by_toys(
    batch: ProblemBatch,
    problem: int,
    *,
    n_toys: int,
    generator: np.random.Generator,
    threads: int | None = None,
) -> GoodnessOfFit | None:
    """The same for one problem without merging bins, its p-value from toys of the best fit.

    Returns:
        The share of toys, refitted, with at least the data's χ²; None as for ``goodness_of_fits``.
    """
    if batch.blind:
        return None
    one = replace(batch.subset(np.array([problem])), events=None)
    found = fit(one, threads=threads)
    if found.status[0] != CONVERGED:
        return None
    expected, _, _ = _expectation(one, 0, found.parameters[0])
    n = int(one.structure.n_parameters[0])
    n_nuisances = one.n_nuisances
    counts = generator.poisson(expected, (n_toys, expected.size)).astype(np.float64)
    start = np.array(found.parameters[0, :n])
    auxiliary = generator.normal(start[n - n_nuisances :], 1.0, (n_toys, n_nuisances))
    toys = fit(toy_batch(one, counts, auxiliary, start), threads=threads, tolerance=TOLERANCE)
    good = np.array([status == CONVERGED for status in toys.status])
    n_dof = expected.size - int(n_background_parameters(one)[0]) - 1
    if not good.any() or n_dof < 1:
        return None
    p_value = float(np.mean(toys.nll[good] >= found.nll[0] - 1e-9))
    return GoodnessOfFit(chi2=max(2 * float(found.nll[0]), 0.0), n_dof=n_dof, p_value=p_value)


def _expectation(batch: ProblemBatch, p: int, parameters: Floats) -> tuple[Floats, Floats, Floats]:
    one = MinuitProblem(batch, p, batch.rows)
    x = np.array(parameters[: one.n])
    begin, end = int(batch.rows.start[p, 0]), int(batch.rows.start[p, -1])
    expected = np.maximum(one.expectation(x), 1e-9)
    return expected, batch.rows.counts[begin:end], x[one.strength + 1 :] - batch.structure.auxiliary[p]


def _merged(batch: ProblemBatch, p: int, expected: Floats, least: float) -> Integers:
    # the merged bin of each row; counting channels (one row, or two with a measured background) stay
    starts = batch.rows.start[p] - batch.rows.start[p, 0]
    groups = np.empty(expected.size, np.int64)
    group = 0
    for begin, end in pairwise(starts.tolist()):
        if end - begin <= 2 or expected[begin:end].min() >= least:
            groups[begin:end] = group + np.arange(end - begin)
            group += int(end - begin)
            continue
        first, total = group, 0.0
        for r in range(begin, end):
            groups[r] = group
            total += expected[r]
            if total >= least:
                group, total = group + 1, 0.0
        if total > 0.0 and group > first:  # what is left joins the last one
            groups[begin:end] = np.minimum(groups[begin:end], group - 1)
        elif total > 0.0:
            group += 1
    return groups
