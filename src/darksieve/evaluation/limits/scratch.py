"""Working memory of the kernels: one thread, one problem."""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.problem import Floats, Integers

BARRIER = 1e-7  # events, in rows without any


class Scratch(NamedTuple):
    """Working memory of one thread for one problem; n_raw templates per channel, n parameters."""

    template_start: Integers  # of each channel in ``templates``
    block_start: Integers  # first parameter of each channel's background; the last entry is μ's position
    first: Integers  # first column of each row of the Hessian that is not zero
    active: Integers  # (n_channels, T): nuisances that act on a channel, those of the morphs first
    n_active: Integers  # how many, per channel
    templates: Floats  # per channel (n_raw, n_rows): M, D'_j, F_m, P_k
    slope_first: Floats  # f'(λ) of each row
    slope_second: Floats  # β f''(λ) of each row
    nu: Floats  # expected events of each row
    nu_before: Floats
    positive: Floats  # max(ν, threshold)
    counts: Floats  # n, or the barrier
    observed: Floats  # n
    inverse: Floats  # 1 / counts
    threshold: Floats
    residual: Floats  # ∂NLL/∂ν
    weight: Floats  # ∂²NLL/∂ν²
    product: Floats  # a row of weight × template
    auxiliary: Floats
    raw_gradient: Floats
    raw_gram: Floats
    transform: Floats  # (1 + T, 1 + J + M): derivatives of ν by μ and active θ in terms of the raw templates
    transformed: Floats
    factor_first: Floats  # (1 + M, T): derivatives of the yield factors by the active θ
    factor_second: Floats  # (1 + M, T, T)
    factor_value: Floats  # (1 + M,)
    gradient: Floats
    hessian: Floats
    cholesky: Floats
    floor: Floats  # smallest curvature that is believed, per parameter
    step: Floats
    right: Floats
    trial: Floats
    begin: Floats
    free: Integers


@compiled()
def make_scratch(rows, structure, p):
    """Working memory for problem p, with the constant templates copied in."""
    n_channels = structure.n_linear.shape[1]
    n_nuisances = structure.auxiliary.shape[1]
    n_morphs = structure.morph_nuisance.size
    n_rows = rows.start[p, n_channels] - rows.start[p, 0]
    n = structure.n_parameters[p]
    template_start = np.zeros(n_channels + 1, np.int64)
    block_start = np.zeros(n_channels + 1, np.int64)
    max_raw = 1
    max_components = 0
    for c in range(n_channels):
        n_free = structure.n_linear[p, c] + 2 * structure.has_slope[p, c]
        n_raw = 1 + n_morphs + structure.n_components[p, c] + n_free
        size = rows.start[p, c + 1] - rows.start[p, c]
        template_start[c + 1] = template_start[c] + n_raw * size
        block_start[c + 1] = block_start[c] + n_free
        max_raw = max(max_raw, n_raw)
        max_components = max(max_components, structure.n_components[p, c])
    first = np.zeros(n, np.int64)
    for c in range(n_channels):
        for i in range(block_start[c], block_start[c + 1]):
            first[i] = block_start[c]
    n_signal = 1 + n_morphs + max_components
    active = np.zeros((n_channels, n_nuisances), np.int64)
    n_active = np.full(n_channels, n_morphs, np.int64)
    for c in range(n_channels):
        for j in range(n_morphs):
            active[c, j] = structure.morph_nuisance[j]
        for t in range(n_nuisances):
            acts = structure.yield_kind[p, c, t] != 0
            for m in range(structure.n_components[p, c]):
                acts = acts or structure.component_kind[p, c, m, t] != 0
            for j in range(n_morphs):
                acts = acts and structure.morph_nuisance[j] != t
            if acts:
                active[c, n_active[c]] = t
                n_active[c] += 1
    scratch = Scratch(
        template_start,
        block_start,
        first,
        active,
        n_active,
        np.zeros(template_start[n_channels]),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_nuisances),
        np.zeros(max_raw),
        np.zeros((max_raw, max_raw)),
        np.zeros((1 + n_nuisances, n_signal)),
        np.zeros((1 + n_nuisances, n_signal)),
        np.zeros((1 + max_components, n_nuisances)),
        np.zeros((1 + max_components, n_nuisances, n_nuisances)),
        np.zeros(1 + max_components),
        np.zeros(n),
        np.zeros((n, n)),
        np.zeros((n, n)),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, np.int64),
    )
    n_pairs = n_morphs * (n_morphs + 1) // 2 * structure.curved[0]
    for c in range(n_channels):
        size = rows.start[p, c + 1] - rows.start[p, c]
        n_components = structure.n_components[p, c]
        for r in range((1 + n_morphs) * size):
            scratch.templates[template_start[c] + r] = rows.columns[rows.column_start[p, c] + r]
        to = template_start[c] + (1 + n_morphs) * size
        origin = rows.column_start[p, c] + (1 + n_morphs + n_pairs) * size
        for r in range((n_components + structure.n_linear[p, c]) * size):
            scratch.templates[to + r] = rows.columns[origin + r]
        # the curvature floor of a coefficient: (its expected events)², times 1e-10
        offset = (1 + n_morphs + n_components) * size
        for k in range(structure.n_linear[p, c]):
            total = 0.0
            for r in range(size):
                total += rows.exposure[rows.start[p, c] + r] * abs(
                    scratch.templates[template_start[c] + offset + k * size + r]
                )
            scratch.floor[block_start[c] + k] = 1e-10 * total * total + 1e-30
        if structure.has_slope[p, c] == 1:
            total = 0.0
            for r in range(size):
                i = rows.start[p, c] + r
                total += rows.exposure[i] * rows.slope_scale[i]
            scratch.floor[block_start[c + 1] - 2] = 1e-10 * total * total + 1e-30
            scratch.floor[block_start[c + 1] - 1] = 1e-7
    scratch.floor[block_start[n_channels]] = 1e-10
    return scratch


@compiled()
def set_barrier(scratch, barrier):
    """Events that rows without any are given for the logarithm."""
    for r in range(scratch.nu.size):
        n = scratch.observed[r]
        scratch.counts[r] = max(n, barrier)
        scratch.threshold[r] = max(1e-6 * n, barrier)
        scratch.inverse[r] = 1.0 / scratch.counts[r]


@compiled()
def set_counts(scratch, counts, origin, auxiliary):
    """The data of the following fits: counts from ``origin`` on, and the constraints' measured values."""
    for r in range(scratch.nu.size):
        scratch.observed[r] = counts[origin + r]
    set_barrier(scratch, BARRIER)
    for t in range(auxiliary.size):
        scratch.auxiliary[t] = auxiliary[t]
