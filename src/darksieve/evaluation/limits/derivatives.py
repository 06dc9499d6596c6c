"""Exact gradient and Hessian of the negative log-likelihood of one problem, as compiled kernels.

Sums over rows are taken over the raw templates only, channel by channel; a small matrix then turns them into
derivatives by the parameters.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.likelihood import FAST, dot, set_factors


@compiled(inner=True, fastmath=FAST)
def _set_weights(nu, positive, counts, exposure, residual, weight):
    for r in range(nu.size):
        s = positive[r]
        ratio = counts[r] / s
        residual[r] = exposure[r] - ratio * (2.0 - nu[r] / s)
        weight[r] = ratio / s


@compiled(inner=True, fastmath=FAST)
def _set_gram(templates, start, size, n_raw, weight, residual, base, product, gamma, gram):
    # γ_i = Σ residual T_i and G_ij = Σ weight T_i T_j, four sums at a time
    w = weight[base : base + size]
    p = product[:size]
    for i in range(n_raw):
        of = templates[start + i * size : start + (i + 1) * size]
        for r in range(size):
            p[r] = w[r] * of[r]
        gamma[i] = dot(residual, base, templates, start + i * size, size)
        j = 0
        while j + 3 <= i:
            at = start + j * size
            t0 = templates[at : at + size]
            t1 = templates[at + size : at + 2 * size]
            t2 = templates[at + 2 * size : at + 3 * size]
            t3 = templates[at + 3 * size : at + 4 * size]
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            for r in range(size):
                a += p[r] * t0[r]
                b += p[r] * t1[r]
                c += p[r] * t2[r]
                d += p[r] * t3[r]
            gram[i, j], gram[i, j + 1], gram[i, j + 2], gram[i, j + 3] = a, b, c, d
            j += 4
        while j <= i:
            gram[i, j] = dot(product, 0, templates, start + j * size, size)
            j += 1


@compiled()
def differentiate(rows, structure, p, x, scratch, exact):
    """Gradient and Hessian (lower triangle) at the x of the last ``evaluate``.

    Without ``exact`` the second derivatives of ν are left out: positive semi-definite where the exact Hessian
    is not.
    """
    n_channels = structure.n_linear.shape[1]
    n_morphs = structure.morph_nuisance.size
    n_nuisances = scratch.auxiliary.size
    strength = scratch.block_start[n_channels]
    shared = strength + 1
    gradient = scratch.gradient
    hessian = scratch.hessian
    gradient[:] = 0.0
    hessian[:, :] = 0.0
    n_rows = scratch.nu.size
    begin = rows.start[p, 0]
    _set_weights(
        scratch.nu,
        scratch.positive,
        scratch.counts,
        rows.exposure[begin : begin + n_rows],
        scratch.residual,
        scratch.weight,
    )
    for t in range(n_nuisances):
        gradient[shared + t] = x[shared + t] - scratch.auxiliary[t]
        hessian[shared + t, shared + t] = 1.0
    gamma = scratch.raw_gradient
    gram = scratch.raw_gram
    transform = scratch.transform
    for c in range(n_channels):
        size = rows.start[p, c + 1] - rows.start[p, c]
        if size == 0:
            continue
        base = rows.start[p, c] - begin
        n_components = structure.n_components[p, c]
        n_signal = 1 + n_morphs + n_components
        block = scratch.block_start[c]
        n_free = scratch.block_start[c + 1] - block
        n_raw = n_signal + n_free
        start = scratch.template_start[c]
        _set_gram(
            scratch.templates, start, size, n_raw, scratch.weight, scratch.residual, base, scratch.product,
            gamma, gram,
        )  # fmt: skip
        # the background's own block
        for k in range(n_free):
            gradient[block + k] = gamma[n_signal + k]
            for i in range(k + 1):
                hessian[block + k, block + i] = gram[n_signal + k, n_signal + i]
        if structure.has_slope[p, c] == 1 and exact:
            last = block + n_free - 1
            hessian[last, last] += dot(scratch.residual, base, scratch.slope_second, base, size)
            hessian[last, last - 1] += dot(scratch.residual, base, scratch.slope_first, base, size)
        # what all channels share
        set_factors(structure, p, c, x, shared, scratch)
        mu = x[strength]
        n_active = scratch.n_active[c]
        for i in range(1 + n_active):
            for u in range(n_signal):
                transform[i, u] = 0.0
        transform[0, 0] = scratch.factor_value[0]
        for i in range(n_active):
            transform[1 + i, 0] = mu * scratch.factor_first[0, i]
            for m in range(n_components):
                transform[1 + i, 1 + n_morphs + m] = scratch.factor_first[1 + m, i]
        for j in range(n_morphs):
            transform[1 + j, 1 + j] = mu * scratch.factor_value[0]
        _add_shared(scratch, c, strength, block, n_free, n_signal)
        if exact:
            _add_second(rows, structure, p, c, x, scratch, base, size, n_components)


@compiled(inner=True)
def _add_shared(scratch, c, strength, block, n_free, n_signal):
    # first derivatives: through the transform of the raw templates
    gamma = scratch.raw_gradient
    gram = scratch.raw_gram
    transform = scratch.transform
    transformed = scratch.transformed
    n_active = scratch.n_active[c]
    for s in range(1 + n_active):
        row = strength if s == 0 else strength + 1 + scratch.active[c, s - 1]
        for v in range(n_signal):
            transformed[s, v] = 0.0
        for u in range(n_signal):
            a = transform[s, u]
            if a == 0.0:
                continue
            scratch.gradient[row] += a * gamma[u]
            for k in range(n_free):
                scratch.hessian[row, block + k] += a * gram[n_signal + k, u]
            for v in range(n_signal):
                transformed[s, v] += a * (gram[u, v] if u >= v else gram[v, u])
        for i in range(s + 1):
            column = strength if i == 0 else strength + 1 + scratch.active[c, i - 1]
            total = 0.0
            for v in range(n_signal):
                total += transformed[s, v] * transform[i, v]
            scratch.hessian[max(row, column), min(row, column)] += total


@compiled(inner=True)
def _add_second(rows, structure, p, c, x, scratch, base, size, n_components):
    # Σ ∂NLL/∂ν ∂²ν for μ and θ
    n_morphs = structure.morph_nuisance.size
    strength = scratch.block_start[structure.n_linear.shape[1]]
    shared = strength + 1
    mu = x[strength]
    hessian = scratch.hessian
    gamma = scratch.raw_gradient
    value = scratch.factor_value
    first = scratch.factor_first
    second = scratch.factor_second
    n_active = scratch.n_active[c]
    for i in range(n_active):
        t = shared + scratch.active[c, i]
        hessian[t, strength] += first[0, i] * gamma[0]
        for k in range(i + 1):
            u = shared + scratch.active[c, k]
            total = mu * second[0, i, k] * gamma[0]
            for m in range(n_components):
                total += second[1 + m, i, k] * gamma[1 + n_morphs + m]
            hessian[max(t, u), min(t, u)] += total
    pair = rows.column_start[p, c] + (1 + n_morphs) * size
    for j in range(n_morphs):
        t = shared + scratch.active[c, j]
        hessian[t, strength] += value[0] * gamma[1 + j]
        for i in range(n_active):
            u = shared + scratch.active[c, i]
            extra = mu * first[0, i] * gamma[1 + j]
            hessian[max(t, u), min(t, u)] += 2.0 * extra if u == t else extra
        if structure.curved[0] == 0:
            continue
        for i in range(j, n_morphs):
            u = shared + scratch.active[c, i]
            bend = dot(scratch.residual, base, rows.columns, pair, size)
            pair += size
            hessian[max(t, u), min(t, u)] += mu * value[0] * bend
