"""Which bins and events each point of a search fits: the rows of a batch, before their templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darksieve.evaluation.limits.components import (
    CountingSignal,
    CrystalBallSignal,
    GaussianSignal,
    TemplateSignal,
)
from darksieve.evaluation.limits.data import BinnedData, CountingData, UnbinnedData
from darksieve.evaluation.limits.document import Channel, Signal, kept_bins
from darksieve.evaluation.limits.problem import Floats, Integers

MIN_BINS, MAX_BINS = 100, 3000
N_GUARDS = 41
WindowedSignal = GaussianSignal | CrystalBallSignal | TemplateSignal


@dataclass(frozen=True)
class Spans:
    """Rows of a batch by their edges: low < high for bins and integrals, low = high for events.

    Attributes:
        start: First row of each channel, shape (n_problems, n_channels + 1).
        low: Shape (n_rows,).
        high: Shape (n_rows,).
        counts: Shape (n_rows,).
        exposure: 1 for bins and integrals, 0 for events, shape (n_rows,).
    """

    start: Integers
    low: Floats
    high: Floats
    counts: Floats
    exposure: Floats


def _join(pieces: Sequence[tuple[Floats, Floats, Floats, Floats]], n_problems: int, n_channels: int) -> Spans:
    sizes = np.array([piece[0].size for piece in pieces], np.int64).reshape(n_problems, n_channels)
    ends = np.cumsum(sizes.ravel()).reshape(n_problems, n_channels)
    start = np.concatenate([ends[:, :1] - sizes[:, :1], ends], axis=1)
    low, high, counts, exposure = (
        np.concatenate([piece[i] for piece in pieces]) if pieces else np.zeros(0) for i in range(4)
    )
    return Spans(start, low, high, counts, exposure)


def kept_intervals(
    window: tuple[float, float], exclude: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """What is left of a window without the excluded intervals, in order."""
    left = [window]
    for low, high in exclude:
        pieces = []
        for a, b in left:
            if high <= a or low >= b:
                pieces.append((a, b))
                continue
            if low > a:
                pieces.append((a, low))
            if high < b:
                pieces.append((high, b))
        left = pieces
    return left


class ChannelRows:
    """The rows of one channel for any window: its data sorted or binned once."""

    def __init__(self, channel: Channel, bins_per_sigma: float) -> None:
        self.channel = channel
        self.bins_per_sigma = bins_per_sigma
        data = channel.data
        self.values: Floats | None = None
        self.edges: Floats | None = None
        if isinstance(data, UnbinnedData):
            self.values = np.sort(np.asarray(data.values, np.float64))
        elif isinstance(data, BinnedData):
            self.edges = np.asarray(data.edges, np.float64)
            self.contents = (
                np.zeros(self.edges.size - 1) if data.counts is None else np.asarray(data.counts, np.float64)
            )

    @property
    def unbinned(self) -> bool:
        """Whether the channel's data are values."""
        return self.values is not None

    def bins(self, signal: Signal, sigma: float) -> tuple[Floats, Floats, Floats, Floats]:
        """Bins of a point's window: the data's own, or fine ones for unbinned data and blind documents."""
        if isinstance(signal, CountingSignal):
            n = self._count(signal)
            return np.zeros(1), np.ones(1), np.array([n]), np.ones(1)
        if self.edges is not None:
            first = int(np.searchsorted(self.edges, signal.window[0], "left"))
            last = int(np.searchsorted(self.edges, signal.window[1], "right"))
            first, last = max(first - 1, 0), min(last + 1, self.edges.size)
            edges = self.edges[first:last]
            kept = kept_bins(edges, signal.window, signal.exclude)
            counts = self.contents[first : last - 1][kept]
            return edges[:-1][kept], edges[1:][kept], counts, np.ones(counts.size)
        low, high = [], []
        intervals = kept_intervals(signal.window, signal.exclude)
        total = sum(b - a for a, b in intervals)
        n_bins = min(max(total / sigma * self.bins_per_sigma, MIN_BINS), MAX_BINS)
        for a, b in intervals:
            edges = np.linspace(a, b, max(int(np.ceil(n_bins * (b - a) / total)), 1) + 1)
            low.append(edges[:-1])
            high.append(edges[1:])
        lows, highs = np.concatenate(low), np.concatenate(high)
        counts = np.zeros(lows.size)
        if self.values is not None:
            # bins are half open, the last one closed
            above = np.searchsorted(self.values, highs, "left").astype(np.float64)
            for i, (_, b) in enumerate(intervals):
                end = int(np.searchsorted(highs, b, "right")) - 1
                if i == len(intervals) - 1 and 0 <= end < highs.size:
                    above[end] = np.searchsorted(self.values, b, "right")
            counts = above - np.searchsorted(self.values, lows, "left")
        return lows, highs, counts, np.ones(lows.size)

    def events(self, signal: Signal, sigma: float) -> tuple[Floats, Floats, Floats, Floats]:
        """Rows of the exact likelihood: events, an integral per kept interval, guards; bins if binned."""
        if self.values is None or isinstance(signal, CountingSignal):
            return self.bins(signal, sigma)
        intervals = kept_intervals(signal.window, signal.exclude)
        inside = [
            self.values[np.searchsorted(self.values, a, "left") : np.searchsorted(self.values, b, "right")]
            for a, b in intervals
        ]
        events = np.concatenate(inside)
        a, b = np.array(intervals).T
        guards = _guards(signal, sigma, intervals)
        return (
            np.concatenate([events, a, guards]),
            np.concatenate([events, b, guards]),
            np.concatenate([np.ones(events.size), np.zeros(a.size + guards.size)]),
            np.concatenate([np.zeros(events.size), np.ones(a.size), np.zeros(guards.size)]),
        )

    def _count(self, signal: CountingSignal) -> float:
        if isinstance(self.channel.data, CountingData):
            return float(self.channel.data.counts[0])
        if signal.window is None:
            return 0.0  # blind
        if self.values is not None:
            a, b = np.searchsorted(self.values, signal.window)
            return float(b - a)
        if self.edges is not None:
            return float(self.contents[kept_bins(self.edges, signal.window)].sum())
        return 0.0


def _guards(signal: WindowedSignal, sigma: float, intervals: Sequence[tuple[float, float]]) -> Floats:
    """Where the density must stay positive although no event is there: a row without exposure or count."""
    mean = signal.mean_and_sigma[0] if isinstance(signal, TemplateSignal) else signal.mean
    low, high = signal.window
    points = np.concatenate([mean + sigma * np.linspace(-4, 4, N_GUARDS), np.linspace(low, high, N_GUARDS)])
    kept = np.zeros(points.size, bool)
    for a, b in intervals:
        kept |= (points >= a) & (points <= b)
    return points[kept]


def make_spans(
    rows: Sequence[ChannelRows],
    signals: Sequence[Sequence[Signal | None]],
    sigmas: Floats,
    *,
    events: bool,
    auxiliary: dict[tuple[int, int], float],
) -> Spans:
    """Rows of all points, in the order of points and, within, channels.

    Args:
        rows: One per channel.
        signals: For each point, one per channel or None.
        sigmas: Resolution, shape (n_problems, n_channels).
        events: Rows of the exact unbinned likelihood where the data are values.
        auxiliary: Further counts that measure a background, by (problem, channel).
    """
    nothing = (np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
    pieces = []
    for p, of_point in enumerate(signals):
        for c, signal in enumerate(of_point):
            if signal is None:
                pieces.append(nothing)
                continue
            make = rows[c].events if events else rows[c].bins
            piece = make(signal, float(sigmas[p, c]))
            if (p, c) in auxiliary:
                extra = (np.ones(1), np.full(1, 2.0), np.array([auxiliary[p, c]]), np.ones(1))
                piece = tuple(np.concatenate([x, y]) for x, y in zip(piece, extra, strict=True))  # type: ignore[assignment]
            pieces.append(piece)
    return _join(pieces, len(signals), len(rows))
