"""Random numbers by counter: each toy has its own stream, whatever the number of threads."""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

import numpy as np

from darksieve.evaluation.limits.compilation import compiled

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ROTATE = (np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11))
_TO_UNIT = 1.0 / 9007199254740992.0  # 2^-53


@compiled(inner=True)
def _mix(z):
    # the finaliser of SplitMix64: G. Steele, D. Lea, C. Flood, OOPSLA 2014
    z = (z ^ (z >> _ROTATE[0])) * _MIX_1
    z = (z ^ (z >> _ROTATE[1])) * _MIX_2
    return z ^ (z >> _ROTATE[2])


@compiled(inner=True)
def start_stream(state, seed, problem, hypothesis, toy):
    """Set ``state`` (uint64, shape (1,)) to the stream of a toy."""
    key = _mix(np.uint64(seed) + _GOLDEN)
    key = _mix(key ^ (np.uint64(problem) * _GOLDEN + np.uint64(hypothesis)))
    state[0] = _mix(key ^ (np.uint64(toy) * _MIX_1 + _GOLDEN))


@compiled(inner=True)
def uniform(state):
    """Uniform in (0, 1]."""
    state[0] += _GOLDEN
    return (np.float64(_mix(state[0]) >> _ROTATE[3]) + 1.0) * _TO_UNIT


@compiled(inner=True)
def normal(state):
    """Standard normal."""
    radius = math.sqrt(-2.0 * math.log(uniform(state)))
    return radius * math.cos(2.0 * math.pi * uniform(state))


@compiled(inner=True)
def poisson(state, mean):
    """Poisson: a product of uniforms below a mean of 10, else transformed rejection (W. Hörmann, 1993)."""
    if mean <= 0.0:
        return 0.0
    if mean < 10.0:
        limit = math.exp(-mean)
        product = uniform(state)
        n = 0
        while product > limit:
            n += 1
            product *= uniform(state)
        return float(n)
    root = math.sqrt(mean)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    log_mean = math.log(mean)
    while True:
        u = uniform(state) - 0.5
        v = uniform(state)
        distance = 0.5 - abs(u)
        if distance <= 0.0:
            continue
        k = math.floor((2.0 * a / distance + b) * u + mean + 0.43)
        if distance >= 0.07 and v <= v_r:
            return k
        if k < 0.0 or (distance < 0.013 and v > distance):
            continue
        left = math.log(v * inverse_alpha / (a / (distance * distance) + b))
        if left <= k * log_mean - mean - math.lgamma(k + 1.0):
            return k
