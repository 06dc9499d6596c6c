"""The compiled loop over toys: draw counts and measured constraints, fit, keep q̃."""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.likelihood import set_expectation
from darksieve.evaluation.limits.minimiser import CONVERGED, minimise
from darksieve.evaluation.limits.profile import fit_at
from darksieve.evaluation.limits.scratch import make_scratch, set_counts
from darksieve.evaluation.limits.streams import normal, poisson, start_stream

WITH_SIGNAL, WITHOUT_SIGNAL = 0, 1


@compiled(inner=True, inline="always")
def _test_statistic(rows, structure, p, scratch, start, mu, x, moved, tolerance):
    # q̃ of the counts in the scratch; the lower bound of μ is zero
    x[:] = start
    moved[:] = 0.0
    status, value, slope, _ = fit_at(rows, structure, p, scratch, x, mu, moved, tolerance)
    if status != CONVERGED:
        return math.nan
    if slope <= 0.0:  # the best fit lies above the tested strength
        return 0.0
    strength = scratch.block_start[structure.n_linear.shape[1]]
    status, best, _, _ = minimise(rows, structure, p, x, scratch, np.int64(-1), tolerance)
    if status != CONVERGED:
        x[:] = start
        x[strength] = 0.5 * mu
        status, best, _, _ = minimise(rows, structure, p, x, scratch, np.int64(-1), tolerance)
        if status != CONVERGED:
            return math.nan
    if x[strength] + scratch.step[strength] > mu:
        return 0.0
    return max(2.0 * (value - best), 0.0)


@compiled()
def run_toys(
    rows, structure, p, mu, generated, seed, stream, first_toy, tolerance, hypothesis, q, begin, end
):
    """q̃ of the toys begin to end of one hypothesis, into q; NaN where a fit fails.

    Args:
        generated: Parameters that the toys are made from, shape (n_parameters,).
        stream: With seed, hypothesis and toy the key of a toy's random numbers.
    """
    n = structure.n_parameters[p]
    scratch = make_scratch(rows, structure, p)
    n_rows = scratch.nu.size
    shared = n - structure.auxiliary.shape[1]
    set_expectation(rows, structure, p, generated, scratch)
    expected = scratch.nu.copy()
    counts = np.empty(n_rows)
    auxiliary = np.empty(structure.auxiliary.shape[1])
    x = np.empty(n)
    moved = np.empty(n)
    state = np.zeros(1, np.uint64)
    for i in range(begin, end):
        start_stream(state, seed, stream, hypothesis, first_toy + i)
        for r in range(n_rows):
            counts[r] = poisson(state, expected[r])
        for t in range(auxiliary.size):
            auxiliary[t] = generated[shared + t] + normal(state)
        set_counts(scratch, counts, 0, auxiliary)
        q[i] = _test_statistic(rows, structure, p, scratch, generated, mu, x, moved, tolerance)
