"""The compiled loop over toys: make counts and measured constraints, fit, keep q̃."""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

import numba
import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.likelihood import set_expectation
from darksieve.evaluation.limits.minimiser import CONVERGED, minimise
from darksieve.evaluation.limits.profile import fit_at
from darksieve.evaluation.limits.scratch import make_scratch, set_counts
from darksieve.evaluation.limits.streams import normal, poisson, start_stream

WITH_SIGNAL, WITHOUT_SIGNAL = 0, 1
_PORTION = 64


@compiled()
def _test_statistic(rows, structure, scratch, start, mu, x, moved, tolerance):
    # q̃ of the counts in the scratch; the lower bound of μ is zero
    x[:] = start
    moved[:] = 0.0
    status, value, slope, _ = fit_at(rows, structure, 0, scratch, x, mu, moved, tolerance)
    if status != CONVERGED:
        return math.nan
    if slope <= 0.0:  # the best fit lies above the tested strength
        return 0.0
    strength = scratch.block_start[structure.n_linear.shape[1]]
    status, best, _, _ = minimise(rows, structure, 0, x, scratch, -1, tolerance)
    if status != CONVERGED:
        x[:] = start
        x[strength] = 0.5 * mu
        status, best, _, _ = minimise(rows, structure, 0, x, scratch, -1, tolerance)
        if status != CONVERGED:
            return math.nan
    if x[strength] + scratch.step[strength] > mu:
        return 0.0
    return max(2.0 * (value - best), 0.0)


@compiled()
def prepare(rows, structure, mu, blind, generated):
    """q̃ of the data (NaN while blind) and the parameters that toys are made from.

    Args:
        generated: Filled, shape (2, n_parameters): with the tested strength, and without signal; NaN if a fit
            fails.
    """
    n = structure.n_parameters[0]
    scratch = make_scratch(rows, structure, 0)
    strength = scratch.block_start[structure.n_linear.shape[1]]
    x = structure.start[0, :n].copy()
    moved = np.zeros(n)
    if blind:
        for k in range(2):
            generated[k] = x
            generated[k, strength] = mu if k == WITH_SIGNAL else 0.0
        return math.nan
    set_counts(scratch, rows, 0, rows.counts, rows.start[0, 0], structure.auxiliary[0])
    status, _, _, _ = fit_at(rows, structure, 0, scratch, x, 0.0, moved, 1e-9)
    generated[WITHOUT_SIGNAL] = x if status == CONVERGED else np.full(n, math.nan)
    zero = x.copy()
    status, _, _, _ = fit_at(rows, structure, 0, scratch, x, mu, moved, 1e-9)
    generated[WITH_SIGNAL] = x if status == CONVERGED else np.full(n, math.nan)
    return _test_statistic(rows, structure, scratch, zero, mu, x, moved, 1e-9)


@compiled()
def _run_portion(rows, structure, mu, generated, seed, problem, first_toy, tolerance, hypothesis, begin, q):
    n = structure.n_parameters[0]
    scratch = make_scratch(rows, structure, 0)
    n_rows = scratch.nu.size
    shared = n - structure.auxiliary.shape[1]
    start = generated[hypothesis]
    set_expectation(rows, structure, 0, start, scratch)
    expected = scratch.nu.copy()
    counts = np.empty(n_rows)
    auxiliary = np.empty(structure.auxiliary.shape[1])
    x = np.empty(n)
    moved = np.empty(n)
    state = np.zeros(1, np.uint64)
    for i in range(begin, min(begin + _PORTION, q.size)):
        start_stream(state, seed, problem, hypothesis, first_toy + i)
        for r in range(n_rows):
            counts[r] = poisson(state, expected[r])
        for t in range(auxiliary.size):
            auxiliary[t] = start[shared + t] + normal(state)
        set_counts(scratch, rows, 0, counts, 0, auxiliary)
        q[i] = _test_statistic(rows, structure, scratch, start, mu, x, moved, tolerance)


@compiled()
def run_serial(rows, structure, mu, generated, seed, problem, first_toy, tolerance, q):
    """q̃ of toys with and without signal into q, shape (2, n_toys), in one thread; NaN where a fit fails."""
    n_portions = (q.shape[1] + _PORTION - 1) // _PORTION
    for k in range(2 * n_portions):
        _run_portion(
            rows, structure, mu, generated, seed, problem, first_toy, tolerance,
            k // n_portions, (k % n_portions) * _PORTION, q[k // n_portions],
        )  # fmt: skip


@compiled(parallel=True)
def run_parallel(rows, structure, mu, generated, seed, problem, first_toy, tolerance, q):
    """The same on numba's threads: the same numbers."""
    n_portions = (q.shape[1] + _PORTION - 1) // _PORTION
    for k in numba.prange(2 * n_portions):
        _run_portion(
            rows, structure, mu, generated, seed, problem, first_toy, tolerance,
            k // n_portions, (k % n_portions) * _PORTION, q[k // n_portions],
        )  # fmt: skip
