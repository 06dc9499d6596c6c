"""Toys of a whole scan with correlated windows: one spectrum is thrown, every point looks at its part of it.

A linear score screens all points of all toys: Z = (n − b)·W, with W = S/b made orthogonal to what the
background can do (its own derivatives, constrained ones to their prior) and scaled to unit variance. It is
not enough by itself (its error grows in the tail), so what comes near the observed excess is fitted in full.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.compile import compile_search, fitted_points
from darksieve.evaluation.limits.components import CountingSignal, KnownBackground, TemplateSignal
from darksieve.evaluation.limits.data import BinnedData, UnbinnedData
from darksieve.evaluation.limits.document import SearchModel, kept_bins
from darksieve.evaluation.limits.engine import fit, upper_limits
from darksieve.evaluation.limits.envelope import has_choice
from darksieve.evaluation.limits.look_elsewhere import REFERENCE_LEVEL, count_up_crossings
from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.problem import Floats, Integers, ProblemBatch

MARGIN = 0.7  # the linear score may miss a full fit by so much
BINS_PER_SIGMA = 8.0  # of values, which are binned for the toys
BLOCK = 32  # masses whose windows are multiplied together
CHUNK = 1000  # toys thrown from one stream, fewer where the scan has many bins
COUNTS_AT_ONCE = 16_000_000  # of a chunk: 128 MB
ROWS_AT_ONCE = 3_000_000  # of full fits


class ToysNotShared(Exception):  # noqa: N818 - a reason, not a fault
    """The points of the document do not look at common spectra, so a toy of the scan cannot be thrown."""


@dataclass(frozen=True)
class ScanToys:
    """Largest excesses of toys of a scan.

    Attributes:
        significance: Of the largest excess in the data.
        n_toys: Toys of the whole scan.
        n_above: Toys with an excess at least as large.
        n_crossings: Mean up-crossings of the reference level in the toys (by the linear score).
        n_crossings_error: Its statistical error.
        n_fits: Full fits that were needed.
    """

    significance: float
    n_toys: int
    n_above: int
    n_crossings: float
    n_crossings_error: float
    n_fits: int

    @property
    def p_global(self) -> float:
        """Share of the toys with an excess at least as large as the data's."""
        return self.n_above / self.n_toys

    @property
    def p_global_error(self) -> float:
        """Its binomial error."""
        p = max(self.n_above, 1) / self.n_toys
        return math.sqrt(max(p * (1 - p), 1 / self.n_toys) / self.n_toys)


@dataclass(frozen=True, eq=False)
class SharedScan:
    """A scan whose points look at common histograms.

    Attributes:
        batch: Its binned fit problems.
        bins: For each problem the positions of its rows among all bins, in the rows' order.
        background: Expected background of all bins, shape (n_bins,).
        scores: For each problem the weights W of its rows.
        rates: For each problem its own background expectation in its rows.
    """

    batch: ProblemBatch
    bins: tuple[Integers, ...]
    background: Floats
    scores: tuple[Floats, ...]
    rates: tuple[Floats, ...]


def _binned(model: SearchModel) -> SearchModel:
    """The document with values put into fine bins of common edges, dense where the resolution is fine."""
    channels = []
    for channel in model.channels:
        data = channel.data
        if not isinstance(data, UnbinnedData):
            channels.append(channel)
            continue
        sigmas, centres, ends = [], [], []
        for i in fitted_points(model):
            signal = model.points[i].channels.get(channel.name)
            if signal is None or isinstance(signal, CountingSignal):
                continue
            mean, sigma = (
                signal.mean_and_sigma if isinstance(signal, TemplateSignal) else (signal.mean, signal.sigma)
            )
            sigmas.append(sigma)
            centres.append(mean)
            ends += list(signal.window)
        if not sigmas:
            channels.append(channel)
            continue
        order = np.argsort(centres)
        x = np.linspace(min(ends), max(ends), 20_001)
        density = BINS_PER_SIGMA / np.interp(x, np.array(centres)[order], np.array(sigmas)[order])
        number = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))))
        n_bins = max(math.ceil(float(number[-1])), 2)
        edges = np.interp(np.linspace(0, number[-1], n_bins + 1), number, x)
        counts, _ = np.histogram(np.asarray(data.values), edges)
        histogram = BinnedData(edges=tuple(edges.tolist()), counts=tuple(counts.astype(float).tolist()))
        channels.append(channel.model_copy(update={"data": histogram}))
    return model.model_copy(update={"channels": tuple(channels)})


def share(model: SearchModel) -> SharedScan:
    """Lay out a scan for common toys: its problems, where their rows lie, and the weights of the screen.

    Raises:
        ToysNotShared: If a channel counts, or the document is blind.
    """
    if model.blind:
        raise ToysNotShared("the document is blind")
    chosen = fitted_points(model)
    for i in chosen:
        if has_choice(model, i):
            raise ToysNotShared(f"point {model.points[i].label!r} profiles over several backgrounds")
        for name, own in model.points[i].channels.items():
            if isinstance(own, CountingSignal):
                raise ToysNotShared(f"point {model.points[i].label!r} counts instead of scanning a spectrum")
            if any(isinstance(b, KnownBackground) for b in model.background_of(model.points[i], name)):
                raise ToysNotShared(f"point {model.points[i].label!r} has a background that is not fitted")
    binned = _binned(model)
    first_bin, edges = {}, {}
    n_bins = 0
    for channel in binned.channels:
        if isinstance(channel.data, BinnedData):
            edges[channel.name] = np.asarray(channel.data.edges, np.float64)
            first_bin[channel.name] = n_bins
            n_bins += len(channel.data.edges) - 1
    batch = compile_search(binned, points=chosen, unbinned=False)
    zero = fit(batch, 0.0)
    background = np.zeros(n_bins)
    distance = np.full(n_bins, np.inf)
    bins, scores, rates = [], [], []
    for p, i in enumerate(chosen):
        point = binned.points[i]
        positions, away = [], []
        for channel in binned.channels:
            signal = point.channels.get(channel.name)  # of a point of the binned document
            if signal is None or isinstance(signal, CountingSignal):
                continue
            kept = np.flatnonzero(kept_bins(edges[channel.name], signal.window, signal.exclude))
            middle = (edges[channel.name][kept] + edges[channel.name][kept + 1]) / 2
            mean = signal.mean_and_sigma[0] if isinstance(signal, TemplateSignal) else signal.mean
            positions.append(first_bin[channel.name] + kept)
            away.append(np.abs(middle - mean) / (signal.window[1] - signal.window[0]))
        where = np.concatenate(positions)
        rate, score = _score(batch, p, zero.parameters[p])
        if rate.size != where.size:
            raise ToysNotShared(f"point {point.label!r} has rows beside its bins")
        near = np.concatenate(away)
        closer = (near < distance[where]) & (zero.status[p] == "converged")
        background[where[closer]] = rate[closer]
        distance[where[closer]] = near[closer]
        bins.append(where)
        scores.append(score)
        rates.append(rate)
    return SharedScan(batch, tuple(bins), background, tuple(scores), tuple(rates))


def _score(batch: ProblemBatch, p: int, parameters: Floats) -> tuple[Floats, Floats]:
    """Background expectation of a problem's rows at μ = 0, and the weights W of the linear score."""
    problem = MinuitProblem(batch, p, batch.rows)
    x = np.array(parameters[: problem.n])
    rate = np.maximum(problem.expectation(x).copy(), 1e-9)
    lower, upper = problem.structure.lower[p, : problem.n], problem.structure.upper[p, : problem.n]
    strength = problem.strength
    columns, prior = [], []

    def derivative(k: int) -> Floats:
        step = 1e-4 * max(abs(x[k]), 1e-3 if k < strength else 1.0)
        if k == strength:
            step = 1e-3
        moved = x.copy()
        moved[k] += step
        up = problem.expectation(moved).copy()
        moved[k] = x[k]
        base = problem.expectation(moved).copy()
        return (up - base) / step

    signal = derivative(strength)
    for k in range(problem.n):
        if k == strength or x[k] <= lower[k] or x[k] >= upper[k]:
            continue
        column = derivative(k)
        if np.any(column != 0):
            columns.append(column)
            prior.append(1.0 if k > strength else 0.0)
    weight = signal / rate
    if columns:
        basis = np.array(columns)  # (n_columns, n_rows)
        gram = (basis / rate) @ basis.T + np.diag(prior)
        scale = 1 / np.sqrt(np.diag(gram))
        solved = np.linalg.lstsq(gram * np.outer(scale, scale), scale * (basis @ weight), rcond=1e-12)[0]
        weight = weight - (scale * solved) @ basis / rate
    information = float(weight @ signal)
    return rate, weight / math.sqrt(information) if information > 0 else np.zeros_like(weight)


def linear_scores(scan: SharedScan, toys: Floats) -> Floats:
    """The screen's Z of every point of every toy, shape (n_toys, n_points)."""
    z = np.empty((len(toys), len(scan.bins)))
    for begin in range(0, len(scan.bins), BLOCK):
        block = range(begin, min(begin + BLOCK, len(scan.bins)))
        used = np.unique(np.concatenate([scan.bins[p] for p in block]))
        weights = np.zeros((used.size, len(block)))
        offset = np.zeros(len(block))
        for j, p in enumerate(block):
            weights[np.searchsorted(used, scan.bins[p]), j] = scan.scores[p]
            offset[j] = scan.rates[p] @ scan.scores[p]
        contiguous = used[-1] - used[0] + 1 == used.size
        part = toys[:, used[0] : used[-1] + 1] if contiguous else toys[:, used]
        z[:, begin : begin + len(block)] = part @ weights - offset
    return z


def full_significances(
    scan: SharedScan, toys: Floats, toy: Integers, point: Integers, *, threads: int | None = None
) -> Floats:
    """Signed √q0 by full fits of some points of some toys, shape (n_pairs,); NaN where a fit fails.

    Args:
        scan: The scan.
        toys: Counts of all bins, shape (n_toys, n_bins).
        toy: Index of the toy of each pair.
        point: Index of the point of each pair.
        threads: Passed to the engine.
    """
    result = np.empty(len(toy))
    most = max(len(bins) for bins in scan.bins)
    portion = max(1, ROWS_AT_ONCE // most)
    for begin in range(0, len(toy), portion):
        part = slice(begin, begin + portion)
        batch = _pairs(scan, toys, toy[part], point[part])
        answer = upper_limits(
            batch, observed=False, expected=False, errors=False, threads=threads, tolerance=1e-5
        )
        result[part] = answer.significance
    return result


def _pairs(scan: SharedScan, toys: Floats, toy: Integers, point: Integers) -> ProblemBatch:
    # one problem per pair: templates are shared, counts are its own
    rows = scan.batch.rows
    batch = scan.batch.subset(np.asarray(point, np.int64))
    first = rows.start[point, 0]
    sizes = rows.start[point, -1] - first
    begin = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    source = np.repeat(first - begin, sizes) + np.arange(int(sizes.sum()))
    counts = np.concatenate([toys[t, scan.bins[p]] for t, p in zip(toy, point, strict=True)])
    per_row = {
        name: np.ascontiguousarray(getattr(rows, name)[source])
        for name in ("exposure", "slope_position", "slope_width", "slope_scale")
        if getattr(rows, name).size
    }
    new = batch.rows._replace(
        start=np.ascontiguousarray(batch.rows.start + (begin - first)[:, None]), counts=counts, **per_row
    )
    return replace(batch, rows=new, events=None)


def throw(scan: SharedScan, n_toys: int, seed: int, chunk: int) -> NDArray[np.float64]:
    """Background-only spectra of the whole scan, shape (n_toys, n_bins); a stream for each chunk."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, chunk)))
    return generator.poisson(scan.background, (n_toys, scan.background.size)).astype(np.float64)


def scan_toys(
    model: SearchModel,
    *,
    n_toys: int = 10_000,
    seed: int = 1,
    margin: float = MARGIN,
    threads: int | None = None,
) -> ScanToys:
    """Throw toys of the whole scan and count those with an excess as large as the data's.

    Args:
        model: A search document with data.
        n_toys: Toys of the whole scan.
        seed: Of their streams.
        margin: Points whose linear score is above the data's excess less this are fitted in full.
        threads: Passed to the engine.

    Raises:
        ToysNotShared: If the document's points do not look at common spectra.
    """
    scan = share(model)
    data = upper_limits(scan.batch, observed=False, expected=False, errors=False, threads=threads)
    if not np.any(np.isfinite(data.significance)):
        raise ToysNotShared("no point could be fitted")
    largest = float(np.nanmax(data.significance))
    order = np.argsort(data.masses, kind="stable")
    n_above, n_fits, crossings = 0, 0, []
    chunk_size = max(1, min(CHUNK, COUNTS_AT_ONCE // scan.background.size))
    sizes = [min(chunk_size, n_toys - begin) for begin in range(0, n_toys, chunk_size)]
    with ThreadPoolExecutor(1) as pool:  # the next chunk is thrown while this one is looked at
        coming = pool.submit(throw, scan, sizes[0], seed, 0)
        for chunk in range(len(sizes)):
            toys = coming.result()
            if chunk + 1 < len(sizes):
                coming = pool.submit(throw, scan, sizes[chunk + 1], seed, chunk + 1)
            z = linear_scores(scan, toys)
            crossings.append(count_up_crossings(z[:, order], REFERENCE_LEVEL))
            above, fits = _count_above(scan, toys, z, largest, margin, threads)
            n_above += above
            n_fits += fits
    counts = np.concatenate(crossings)
    error = float(counts.std() / math.sqrt(len(counts)))
    return ScanToys(largest, n_toys, n_above, float(counts.mean()), error, n_fits)


def _count_above(
    scan: SharedScan, toys: Floats, z: Floats, largest: float, margin: float, threads: int | None
) -> tuple[int, int]:
    # the likeliest point of each toy first: one large excess settles the toy
    n_points = z.shape[1]
    left = np.flatnonzero(z.max(axis=1) > largest - margin)
    tried = np.zeros_like(z, dtype=bool)
    n_above, n_fits = 0, 0
    width = 1
    while left.size:
        candidates = np.where(tried[left], -np.inf, z[left])
        best = np.argpartition(-candidates, min(width, n_points) - 1, axis=1)[:, : min(width, n_points)]
        score = np.take_along_axis(candidates, best, axis=1)
        row, column = np.nonzero(score > largest - margin)
        if row.size == 0:
            break
        pairs_toy, pairs_point = left[row], best[row, column]
        tried[pairs_toy, pairs_point] = True
        fitted = full_significances(scan, toys, pairs_toy, pairs_point, threads=threads)
        n_fits += len(fitted)
        passed = np.unique(pairs_toy[fitted >= largest])
        n_above += passed.size
        left = np.setdiff1d(np.unique(pairs_toy), passed)
        width *= 4
    return n_above, n_fits
