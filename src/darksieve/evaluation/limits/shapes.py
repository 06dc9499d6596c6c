"""Templates of all masses and channels at once, integrated over bins or taken at events.

A row with low < high is an interval, one with low = high an event (its template is the density). Signals are
normalised to one inside their window, for every value of the nuisances.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.polynomials import BERNSTEIN, CHEBYSHEV, fill_polynomials
from darksieve.evaluation.limits.problem import Floats, Integers

GAUSSIAN, CRYSTAL_BALL, HISTOGRAM, COUNT = 0, 1, 2, 3
ROOT_TWO = math.sqrt(2.0)
ROOT_HALF_PI = math.sqrt(0.5 * math.pi)


class Shapes(NamedTuple):
    """Peaks, one per item (a channel of a problem, or a peaking background)."""

    kind: Integers  # GAUSSIAN, CRYSTAL_BALL, HISTOGRAM or COUNT
    mean: Floats
    sigma: Floats
    tails: Floats  # (n_items, 4): alpha_left, n_left, alpha_right, n_right
    histogram_start: Integers  # first edge in the flat edges below
    histogram_size: Integers  # number of edges
    edges: Floats
    cumulative: Floats  # content below each edge


@compiled(inner=True)
def _tail_integral(distance, alpha, power, height):
    # ∫ of the power-law tail from its start over the given distance, in units of sigma
    y = math.log(1.0 + distance * alpha / power)
    if abs(power - 1.0) < 1e-4:
        u = (1.0 - power) * y
        return height * y * (1.0 + u * (0.5 + u / 6.0))
    return height * (1.0 - math.exp((1.0 - power) * y)) / (power - 1.0)


@compiled(inner=True)
def _tail_constants(shapes, i, k):
    # where a tail begins, its power, the scale of its integral, and the integral of the core up to there
    alpha, power = shapes.tails[i, 2 * k], shapes.tails[i, 2 * k + 1]
    height = math.exp(-0.5 * alpha * alpha) * power / alpha
    return alpha, power, height, ROOT_HALF_PI * math.erf(alpha / ROOT_TWO)


@compiled(inner=True)
def _height(shapes, i, t):
    if shapes.kind[i] == CRYSTAL_BALL:
        left, right = shapes.tails[i, 0], shapes.tails[i, 2]
        if t < -left:
            n = shapes.tails[i, 1]
            return math.exp(-0.5 * left * left - n * math.log1p((-left - t) * left / n))
        if t > right:
            n = shapes.tails[i, 3]
            return math.exp(-0.5 * right * right - n * math.log1p((t - right) * right / n))
    return math.exp(-0.5 * t * t)


@compiled(inner=True)
def _find_bin(edges, begin, size, x):
    low, high = 0, size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[begin + middle] <= x:
            low = middle
        else:
            high = middle
    return begin + low


@compiled(inner=True)
def _histogram_below(shapes, i, x):
    begin, size = shapes.histogram_start[i], shapes.histogram_size[i]
    if x <= shapes.edges[begin]:
        return 0.0
    if x >= shapes.edges[begin + size - 1]:
        return shapes.cumulative[begin + size - 1]
    b = _find_bin(shapes.edges, begin, size, x)
    part = (x - shapes.edges[b]) / (shapes.edges[b + 1] - shapes.edges[b])
    return shapes.cumulative[b] + part * (shapes.cumulative[b + 1] - shapes.cumulative[b])


@compiled(inner=True)
def _histogram_height(shapes, i, x):
    begin, size = shapes.histogram_start[i], shapes.histogram_size[i]
    if x < shapes.edges[begin] or x > shapes.edges[begin + size - 1]:
        return 0.0
    b = _find_bin(shapes.edges, begin, size, x)
    return (shapes.cumulative[b + 1] - shapes.cumulative[b]) / (shapes.edges[b + 1] - shapes.edges[b])


@compiled(inner=True)
def _fill_peak(shapes, i, shift, stretch, low, high, values):
    """A peak whose mean is moved by ``shift`` and whose width is times ``stretch``, not normalised."""
    mean, sigma = shapes.mean[i], shapes.sigma[i]
    if shapes.kind[i] == HISTOGRAM:
        for r in range(low.size):
            # the histogram is moved and stretched about its mean
            x0 = mean + (low[r] - mean - shift) / stretch
            x1 = mean + (high[r] - mean - shift) / stretch
            if high[r] > low[r]:
                values[r] = _histogram_below(shapes, i, x1) - _histogram_below(shapes, i, x0)
            else:
                values[r] = _histogram_height(shapes, i, x0) / stretch
        return
    tails = shapes.kind[i] == CRYSTAL_BALL
    left, left_power, left_height, left_core = _tail_constants(shapes, i, 0)
    right, right_power, right_height, right_core = _tail_constants(shapes, i, 1)
    width = sigma * stretch
    last = math.nan
    below = 0.0
    for r in range(low.size):
        if high[r] == low[r]:
            values[r] = _height(shapes, i, (low[r] - mean - shift) / width)
            continue
        for side in range(2):
            # the signed integral from the mean; a bin's lower edge is often the last one's upper edge
            if side == 0 and low[r] == last:
                continue
            t = ((low[r] if side == 0 else high[r]) - mean - shift) / width
            if tails and t < -left:
                value = -left_core - _tail_integral(-left - t, left, left_power, left_height)
            elif tails and t > right:
                value = right_core + _tail_integral(t - right, right, right_power, right_height)
            else:
                value = ROOT_HALF_PI * math.erf(t / ROOT_TWO)
            if side == 0:
                below = value
            else:
                values[r] = (value - below) * width
                below = value
        last = high[r]


@compiled(inner=True)
def _fill_normalised(shapes, i, shift, stretch, window, low, high, values):
    """The same, normalised to one inside the window: excluded intervals lose their part of the signal."""
    if shapes.kind[i] == COUNT:  # further rows measure the background
        values[:] = 0.0
        values[0] = 1.0
        return
    total = np.zeros(1)
    _fill_peak(shapes, i, shift, stretch, window[:1], window[1:], total)
    _fill_peak(shapes, i, shift, stretch, low, high, values)
    scale = 1.0 / total[0] if total[0] > 0.0 else 0.0
    for r in range(low.size):
        values[r] *= scale


@compiled(inner=True)
def _fill_signal(shapes, i, shifts, wider, narrower, curved, window, low, high, out):
    """S, D_j and E_ij of one channel, from the templates at θ = 0 and ±1; out is (n_templates, n_rows)."""
    n_morphs = shifts.size
    n_rows = low.size
    _fill_normalised(shapes, i, 0.0, 1.0, window, low, high, out[0])
    up = np.empty((n_morphs, n_rows))
    down = np.empty((n_morphs, n_rows))
    for j in range(n_morphs):
        if shifts[j] == 0.0 and wider[j] == 1.0:
            up[j] = out[0]
            down[j] = out[0]
        else:
            _fill_normalised(shapes, i, shifts[j], wider[j], window, low, high, up[j])
            _fill_normalised(shapes, i, -shifts[j], narrower[j], window, low, high, down[j])
        for r in range(n_rows):
            out[1 + j, r] = 0.5 * (up[j, r] - down[j, r])
    if not curved:
        return
    pair = 1 + n_morphs
    both = np.empty(n_rows)
    opposite = np.empty(n_rows)
    for j in range(n_morphs):
        for k in range(j, n_morphs):
            if k == j:
                for r in range(n_rows):
                    out[pair, r] = up[j, r] + down[j, r] - 2.0 * out[0, r]
            elif (shifts[j] == 0.0 and wider[j] == 1.0) or (shifts[k] == 0.0 and wider[k] == 1.0):
                out[pair, :] = 0.0
            else:
                shift = shifts[j] + shifts[k]
                wide = wider[j] * wider[k]
                narrow = narrower[j] * narrower[k]
                _fill_normalised(shapes, i, shift, wide, window, low, high, both)
                _fill_normalised(shapes, i, -shift, narrow, window, low, high, opposite)
                for r in range(n_rows):
                    out[pair, r] = 0.5 * (
                        both[r]
                        + opposite[r]
                        + 2.0 * out[0, r]
                        - up[j, r]
                        - up[k, r]
                        - down[j, r]
                        - down[k, r]
                    )
            pair += 1


@compiled(inner=True)
def _build_one(
    p,
    c,
    start,
    column_start,
    low,
    high,
    exposure,
    event_scale,
    shapes,
    share,
    shifts,
    wider,
    narrower,
    curved,
    n_components,
    family,
    order,
    window,
    columns,
):
    begin, end = start[p, c], start[p, c + 1]
    size = end - begin
    if size == 0:
        return
    n_morphs = shifts.shape[2]
    n_signal = 1 + n_morphs + (n_morphs * (n_morphs + 1) // 2 if curved else 0)
    origin = column_start[p, c]
    lows, highs, exposures = low[begin:end], high[begin:end], exposure[begin:end]
    out = columns[origin : origin + n_signal * size].reshape(n_signal, size)
    item = p * (start.shape[1] - 1) + c
    _fill_signal(
        shapes, item, shifts[p, c], wider[p, c], narrower[p, c], curved, window[p, c], lows, highs, out
    )
    for i in range(n_signal):
        for r in range(size):
            out[i, r] *= share[p, c] * (1.0 if exposures[r] > 0.0 else event_scale[p, c])
    if family[p, c] in (CHEBYSHEV, BERNSTEIN):
        k = order[p, c] + 1
        origin += (n_signal + n_components[p, c]) * size
        basis = columns[origin : origin + k * size].reshape(k, size)
        fill_polynomials(family[p, c], order[p, c], window[p, c, 0], window[p, c, 1], lows, highs, basis)
        for i in range(k):
            for r in range(size):
                if exposures[r] == 0.0:
                    basis[i, r] *= event_scale[p, c]


@compiled()
def build_columns(
    start,
    column_start,
    low,
    high,
    exposure,
    event_scale,
    shapes,
    share,
    shifts,
    wider,
    narrower,
    curved,
    n_components,
    family,
    order,
    window,
    columns,
    first,
    last,
):
    """Signal and polynomial templates of problems first to last, into ``columns`` (see ``Rows``).

    Args:
        low: Lower edges of the rows, flat; equal to ``high`` for events.
        event_scale: Factor on the densities of events, shape (n_problems, n_channels).
        shapes: Signals, item = problem · n_channels + channel.
        share: Of the channel in the signal of one event, shape (n_problems, n_channels).
        shifts: Shift of the mean at θ = +1, shape (n_problems, n_channels, n_morphs).
        wider: Factor on the width at θ = +1, same shape.
        narrower: Factor on the width at θ = −1, same shape.
        window: Its low and high edge, shape (n_problems, n_channels, 2).
    """
    for p in range(first, last):
        for c in range(start.shape[1] - 1):
            _build_one(
                p,
                c,
                start,
                column_start,
                low,
                high,
                exposure,
                event_scale,
                shapes,
                share,
                shifts,
                wider,
                narrower,
                curved,
                n_components,
                family,
                order,
                window,
                columns,
            )


@compiled()
def fill_peaks(shapes, items, begin, end, place, scale, low, high, columns):
    """Fixed components: peak k over rows begin[k] to end[k], times its scale, into columns from place[k] on.

    The peaks are not normalised: the scale is the yield over the integral on the whole line.
    """
    for k in range(items.size):
        out = columns[place[k] : place[k] + end[k] - begin[k]]
        _fill_peak(shapes, items[k], 0.0, 1.0, low[begin[k] : end[k]], high[begin[k] : end[k]], out)
        for r in range(out.size):
            out[r] *= scale[k]
