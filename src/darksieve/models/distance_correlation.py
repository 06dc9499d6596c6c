"""Distance correlation of a score with a variable, and its gradient, of whole samples in n log n steps.

It vanishes only where the two are independent, so as a penalty it keeps a classifier from learning a mass,
whatever the model: trees take the gradient as it is, networks through one autograd node.

References:
    G. J. Szekely, M. L. Rizzo, N. K. Bakirov, Ann. Statist. 35 (2007) 2769; as a penalty of classifiers
    (DisCo): G. Kasieczka, D. Shih, Phys. Rev. Lett. 125 (2020) 122001, arXiv:2001.05310.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray


def distance_correlation(
    score: ArrayLike, variable: ArrayLike, weight: ArrayLike | None = None
) -> tuple[float, NDArray[np.float64]]:
    """Squared distance correlation of two columns, and its derivative by each score.

    With a_ij = |s_i - s_j| and b_ij = |v_i - v_j|, both doubly centred with the weights, it is
    ⟨A B⟩ / √(⟨A A⟩⟨B B⟩). Sums over pairs become sums over ranks, in Fenwick trees: no pair is visited.

    Args:
        score: Shape (n,), finite.
        variable: Shape (n,), finite.
        weight: Not negative, shape (n,); None for ones.

    Returns:
        A number from 0 (independent) to 1, and the gradient of shape (n,); both 0 where a column is constant.

    Raises:
        ValueError: If shapes differ, a value is not finite, or no weight is positive.
    """
    s, v = np.asarray(score, np.float64), np.asarray(variable, np.float64)
    w = np.ones(len(s)) if weight is None else np.asarray(weight, np.float64)
    if not s.shape == v.shape == w.shape or s.ndim != 1:
        raise ValueError(f"score, variable and weight have shapes {s.shape}, {v.shape} and {w.shape}")
    if not (np.isfinite(s).all() and np.isfinite(v).all()):
        raise ValueError("score and variable must be finite")
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError("weights must be finite and not negative, and one of them positive")
    w = w / w.sum()
    s = s - np.average(s, weights=w)  # differences count; near zero they lose the fewest digits
    v = v - np.average(v, weights=w)
    variance_v, _ = _variance(v, w)
    variance_s, gradient_s = _variance(s, w)
    # below this the difference of sums is rounding alone: a constant column
    if variance_s <= 1e-14 * np.average(s**2, weights=w) or variance_v <= 1e-14 * np.average(v**2, weights=w):
        return 0.0, np.zeros(len(s))
    covariance, gradient = _covariance(s, v, w)
    scale = 1 / math.sqrt(variance_s * variance_v)
    value = covariance * scale
    return max(value, 0.0), scale * gradient - 0.5 * value / variance_s * gradient_s


def _mean_distances(x: NDArray, w: NDArray) -> NDArray[np.float64]:
    """Weighted mean distance of each value from all, shape (n,)."""
    order = np.argsort(x, kind="stable")
    xs, ws = x[order], w[order]
    below, moment = np.cumsum(ws), np.cumsum(ws * xs)
    out = np.empty(len(x))
    out[order] = xs * (2 * below - below[-1]) - 2 * moment + moment[-1]
    return out


def _signs(x: NDArray, w: NDArray, values: NDArray) -> NDArray[np.float64]:
    """Σ_j w_j values_j sign(x_i - x_j), shape (n,); equal x count nothing."""
    order = np.argsort(x, kind="stable")
    xs = x[order]
    total = np.concatenate([[0.0], np.cumsum((w * values)[order])])
    first, last = np.searchsorted(xs, x, side="left"), np.searchsorted(xs, x, side="right")
    return total[first] - (total[-1] - total[last])


def _variance(x: NDArray, w: NDArray) -> tuple[float, NDArray[np.float64]]:
    """Squared distance variance ⟨A A⟩ and its gradient."""
    row = _mean_distances(x, w)
    mean = float(w @ row)
    value = 2 * float(w @ x**2 - (w @ x) ** 2) - 2 * float(w @ row**2) + mean**2
    ones = np.ones(len(x))
    side = _signs(x, w, ones)
    gradient = 4 * w * (x - float(w @ x) - row * side - _signs(x, w, row) + mean * side)
    return value, gradient


def _covariance(s: NDArray, v: NDArray, w: NDArray) -> tuple[float, NDArray[np.float64]]:
    """Squared distance covariance ⟨A B⟩ and its gradient by s."""
    row_s, row_v = _mean_distances(s, w), _mean_distances(v, w)
    mean_s, mean_v = float(w @ row_s), float(w @ row_v)
    order = np.argsort(s, kind="stable")
    values = np.unique(v)
    rank = np.searchsorted(values, v)
    product, signed = np.empty(len(s)), np.empty(len(s))
    product[order], signed[order] = _pair_sums(s[order], v[order], w[order], rank[order], len(values))
    value = float(w @ product) - 2 * float(w @ (row_s * row_v)) + mean_s * mean_v
    side = _signs(s, w, np.ones(len(s)))
    return value, 2 * w * (signed - row_v * side - _signs(s, w, row_v) + mean_v * side)


@numba.njit(cache=True)
def _pair_sums(s: NDArray, v: NDArray, w: NDArray, rank: NDArray, n_ranks: int) -> tuple[NDArray, NDArray]:
    """Σ_j w_j |s_i - s_j||v_i - v_j| and Σ_j w_j sign(s_i - s_j)|v_i - v_j|, for s in rising order."""
    n = len(s)
    product, signed = np.zeros(n), np.zeros(n)
    tree = np.zeros((n_ranks + 1, 4))  # of w, w v, w s and w s v, by rank of v
    for direction in (1, -1):  # the values below in s, then those above
        tree[:] = 0.0
        total = np.zeros(4)
        start = 0
        while start < n:
            i = start if direction == 1 else n - 1 - start
            end = start + 1  # equal s enter together, after all of them have asked
            while end < n and s[end if direction == 1 else n - 1 - end] == s[i]:
                end += 1
            for step in range(start, end):
                k = step if direction == 1 else n - 1 - step
                low = np.zeros(4)
                node = rank[k] + 1
                while node > 0:
                    for c in range(4):
                        low[c] += tree[node, c]
                    node -= node & -node
                # |v_k - v_j| is v_k - v_j for the ranks up to that of k, v_j - v_k for the others
                distance = v[k] * (2 * low[0] - total[0]) - 2 * low[1] + total[1]
                moment = v[k] * (2 * low[2] - total[2]) - 2 * low[3] + total[3]
                product[k] += direction * (s[k] * distance - moment)
                signed[k] += direction * distance
            for step in range(start, end):
                k = step if direction == 1 else n - 1 - step
                add = (w[k], w[k] * v[k], w[k] * s[k], w[k] * s[k] * v[k])
                for c in range(4):
                    total[c] += add[c]
                node = rank[k] + 1
                while node <= n_ranks:
                    for c in range(4):
                        tree[node, c] += add[c]
                    node += node & -node
            start = end
    return product, signed
