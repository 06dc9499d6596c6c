"""Poisson bootstrap by event: every row of one physical event is drawn equally often.

The draws are a hash of (event key, replicate, seed): the same numbers for any order of the rows, any
chunking and any number of workers.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import poisson

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64, doi:10.1145/2660193.2660195
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
# upper edges of 0, 1, 2, … draws of a Poisson variable of mean 1, as fractions of 2^64
_POISSON_EDGES = np.array([int(p * 2.0**64) for p in poisson.cdf(np.arange(16), 1.0)], dtype=np.uint64)


@numba.njit(cache=True)
def _mix(x):  # type: ignore[no-untyped-def]  # pragma: no cover
    x = x + _GOLDEN
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


@numba.njit(cache=True)
def _draw(key, stream):  # type: ignore[no-untyped-def]  # pragma: no cover
    hashed = _mix(key ^ stream)
    n = 0
    while n < _POISSON_EDGES.size and hashed >= _POISSON_EDGES[n]:
        n += 1
    return n


@numba.njit(cache=True)
def _fill(cell, weight, key, streams, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for r in range(streams.size):
        for i in range(cell.size):
            n = _draw(key[i], streams[r])
            if n:
                out[r, cell[i]] += n * weight[i]


@numba.njit(cache=True)
def _draw_all(key, stream, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for i in range(key.size):
        out[i] = _draw(key[i], stream)


def _streams(n_replicates: int, seed: int) -> NDArray[np.uint64]:
    state = np.random.SeedSequence(seed, spawn_key=(0xB007,)).generate_state(n_replicates, np.uint64)
    return np.asarray(state, np.uint64)


def bootstrap_sums(
    cell: ArrayLike, weight: ArrayLike, key: ArrayLike, *, n_cells: int, n_replicates: int, seed: int = 0
) -> NDArray[np.float64]:
    """Sums of weights by cell in each replicate.

    Args:
        cell: Cell of each row, 0 … n_cells - 1, shape (n,).
        weight: Shape (n,).
        key: Hash of the row's event, shape (n,).
        n_cells: Number of cells.
        n_replicates: Number of replicates.
        seed: Another seed, other draws.

    Returns:
        Shape (n_replicates, n_cells).
    """
    out = np.zeros((n_replicates, n_cells))
    _fill(
        np.ascontiguousarray(cell, np.int64),
        np.ascontiguousarray(weight, np.float64),
        np.ascontiguousarray(key, np.uint64),
        _streams(n_replicates, seed),
        out,
    )
    return out


def bootstrap_draws(key: ArrayLike, *, replicate: int, seed: int = 0) -> NDArray[np.int64]:
    """How often each row is drawn in one replicate: Poisson of mean 1 by event, shape (n,)."""
    key = np.ascontiguousarray(key, np.uint64)
    out = np.empty(len(key), np.int64)
    _draw_all(key, _streams(replicate + 1, seed)[replicate], out)
    return out
