"""Templates of a batch, from the signals and backgrounds of its points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darksieve.evaluation.limits.compilation import run_in_threads
from darksieve.evaluation.limits.components import (
    CountingSignal,
    CrystalBallSignal,
    GaussianSignal,
    KnownBackground,
    OneSlopeBackground,
    PeakingCrystalBall,
    PeakingTemplate,
    PolynomialBackground,
    TemplateBackground,
    TemplateSignal,
)
from darksieve.evaluation.limits.document import Background, Nuisance, Peaking, Signal
from darksieve.evaluation.limits.polynomials import BERNSTEIN, CHEBYSHEV, EXPONENTIAL, NO_BASIS, POWER
from darksieve.evaluation.limits.problem import Floats, Integers, Rows
from darksieve.evaluation.limits.shapes import (
    COUNT,
    CRYSTAL_BALL,
    GAUSSIAN,
    HISTOGRAM,
    Shapes,
    build_columns,
    fill_peaks,
)
from darksieve.evaluation.limits.windows import Spans

SIGNALS = (GaussianSignal, CrystalBallSignal, TemplateSignal, CountingSignal)
_FAMILY = {"chebyshev": CHEBYSHEV, "bernstein": BERNSTEIN, "exponential": EXPONENTIAL, "power": POWER}


@dataclass(frozen=True)
class Component:
    """A fixed shape in the background, or a known number of events."""

    events: float
    effects: tuple[tuple[int, int, float], ...]  # (nuisance, kind, size)
    peak: Peaking | TemplateBackground | Signal | None


@dataclass(frozen=True)
class Entry:
    """One channel of one problem."""

    signal: Signal
    background: Background
    components: tuple[Component, ...]
    sigma: float
    effects: tuple[tuple[int, int, float], ...] = ()  # on the signal at this point alone


class ShapeTable:
    """Peaks gathered for the kernels."""

    def __init__(self) -> None:
        self.kind: list[int] = []
        self.mean: list[float] = []
        self.sigma: list[float] = []
        self.tails: list[tuple[float, float, float, float]] = []
        self.start: list[int] = []
        self.size: list[int] = []
        self.edges: list[Floats] = []
        self.cumulative: list[Floats] = []
        self.n_edges = 0

    def add(self, shape: Signal | Peaking | TemplateBackground | None) -> int:
        """Append a peak; its position."""
        mean, sigma, tails, size = 0.0, 1.0, (1.0, 2.0, 1.0, 2.0), 0
        if shape is None or isinstance(shape, CountingSignal):
            kind = COUNT
        elif isinstance(shape, TemplateSignal | PeakingTemplate | TemplateBackground):
            kind = HISTOGRAM
            if isinstance(shape, TemplateSignal):
                mean, sigma = shape.mean_and_sigma
            size = len(shape.edges)
            self.edges.append(np.asarray(shape.edges, np.float64))
            self.cumulative.append(np.concatenate([[0.0], np.cumsum(shape.values)]))
        else:
            kind, mean, sigma = GAUSSIAN, shape.mean, shape.sigma
            if isinstance(shape, CrystalBallSignal | PeakingCrystalBall):
                kind = CRYSTAL_BALL
                tails = (shape.alpha_left, shape.n_left, shape.alpha_right, shape.n_right)
        self.kind.append(kind)
        self.mean.append(mean)
        self.sigma.append(sigma)
        self.tails.append(tails)
        self.start.append(self.n_edges)
        self.size.append(size)
        self.n_edges += size
        return len(self.kind) - 1

    def shapes(self) -> Shapes:
        """The table for the kernels."""
        return Shapes(
            np.array(self.kind, np.int64),
            np.array(self.mean, np.float64),
            np.array(self.sigma, np.float64),
            np.array(self.tails, np.float64).reshape(-1, 4),
            np.array(self.start, np.int64),
            np.array(self.size, np.int64),
            np.concatenate([*self.edges, np.zeros(1)]),
            np.concatenate([*self.cumulative, np.zeros(1)]),
        )

    def whole(self, item: int) -> float:
        """Integral of a peak of height one over the whole line."""
        if self.kind[item] == HISTOGRAM:
            cumulative = np.concatenate(self.cumulative)
            return float(cumulative[self.start[item] + self.size[item] - 1])
        if self.kind[item] == GAUSSIAN:
            return math.sqrt(2 * math.pi) * self.sigma[item]
        total = 0.0
        for alpha, n in (self.tails[item][:2], self.tails[item][2:]):
            total += math.sqrt(math.pi / 2) * math.erf(alpha / math.sqrt(2))
            total += math.exp(-0.5 * alpha**2) * n / (alpha * (n - 1))
        return total * self.sigma[item]


@dataclass
class Layout:
    """Sizes and settings of every (problem, channel)."""

    family: Integers
    order: Integers
    n_linear: Integers
    has_slope: Integers
    n_components: Integers
    window: Floats
    sigma: Floats
    share: Floats


def make_layout(entries: Sequence[Sequence[Entry | None]], n_channels: int) -> Layout:
    shape = (len(entries), n_channels)
    layout = Layout(
        family=np.zeros(shape, np.int64),
        order=np.zeros(shape, np.int64),
        n_linear=np.zeros(shape, np.int64),
        has_slope=np.zeros(shape, np.int64),
        n_components=np.zeros(shape, np.int64),
        window=np.zeros((*shape, 2)),
        sigma=np.ones(shape),
        share=np.zeros(shape),
    )
    for p, of_point in enumerate(entries):
        for c, entry in enumerate(of_point):
            if entry is None:
                continue
            background = entry.background
            layout.sigma[p, c] = entry.sigma
            layout.share[p, c] = entry.signal.yield_per_unit
            layout.n_components[p, c] = len(entry.components)
            window = getattr(entry.signal, "window", None)
            layout.window[p, c] = (0.0, 1.0) if window is None else window
            layout.family[p, c] = _FAMILY.get(background.family, NO_BASIS)
            if isinstance(background, PolynomialBackground):
                layout.order[p, c] = background.order
                layout.n_linear[p, c] = background.order + 1
            elif isinstance(background, OneSlopeBackground):
                layout.has_slope[p, c] = 1
            elif isinstance(background, TemplateBackground):
                layout.n_linear[p, c] = int(background.uncertainty == "free")
            elif isinstance(background, KnownBackground):
                layout.n_linear[p, c] = int(background.constraint == "gamma" and background.uncertainty > 0)
    return layout


@dataclass(frozen=True)
class Morphs:
    """Nuisances on mean and width: how far the peak goes at θ = ±1; (n_problems, n_channels, n_morphs)."""

    nuisances: Integers
    shifts: Floats
    wider: Floats
    narrower: Floats


def make_morphs(
    nuisances: Sequence[Nuisance],
    index: dict[str, int],
    channels: Sequence[str],
    entries: Sequence[Sequence[Entry | None]],
) -> Morphs:
    """The morphs of a document's nuisances."""
    moving = [n for n in nuisances if n.on in ("sigma", "mean")]
    names = list(dict.fromkeys(n.name for n in moving))
    shape = (len(entries), len(channels), len(names))
    shifts, wider, narrower = np.zeros(shape), np.ones(shape), np.ones(shape)
    means = np.zeros(shape[:2])
    sigmas = np.ones(shape[:2])
    counts = np.zeros(shape[:2], bool)
    for p, of_point in enumerate(entries):
        for c, entry in enumerate(of_point):
            if entry is None or isinstance(entry.signal, CountingSignal):
                counts[p, c] = True
            elif isinstance(entry.signal, TemplateSignal):
                means[p, c], sigmas[p, c] = entry.signal.mean_and_sigma
            else:
                means[p, c], sigmas[p, c] = entry.signal.mean, entry.signal.sigma
    for nuisance in moving:
        j = names.index(nuisance.name)
        for c, channel in enumerate(channels):
            if nuisance.channels is not None and channel not in nuisance.channels:
                continue
            if nuisance.on == "mean":
                shift = (
                    nuisance.size_sigma * sigmas[:, c]
                    if nuisance.size_sigma is not None
                    else (nuisance.size or 0.0) * means[:, c]
                )
                shifts[:, c, j] += np.where(counts[:, c], 0.0, shift)
            else:
                up = 1.0 + (nuisance.size or 0.0)
                wider[:, c, j] *= np.where(counts[:, c], 1.0, up)
                narrower[:, c, j] *= np.where(
                    counts[:, c], 1.0, 1.0 / up if nuisance.kind == "log_normal" else 2.0 - up
                )
    return Morphs(np.array([index[name] for name in names], np.int64), shifts, wider, narrower)


def make_rows(
    spans: Spans,
    layout: Layout,
    entries: Sequence[Sequence[Entry | None]],
    morphs: Morphs,
    curved: bool,
    threads: int | None,
) -> Rows:
    """Templates on the given rows."""
    n_problems, n_channels = layout.family.shape
    n_morphs = morphs.nuisances.size
    sizes = np.diff(spans.start, axis=1)
    n_signal = 1 + n_morphs + (n_morphs * (n_morphs + 1) // 2 if curved else 0)
    n_templates = n_signal + layout.n_components + layout.n_linear
    ends = np.cumsum((n_templates * sizes).ravel())
    column_start = np.concatenate([[0], ends[:-1]]).reshape(sizes.shape).astype(np.int64)
    columns = np.zeros(int(ends[-1]))
    # densities of events are taken relative to the mean density: a constant in the likelihood
    problem_of, channel_of = _owners(spans.start)
    n_events = np.zeros(layout.family.shape)
    is_event = spans.exposure == 0
    np.add.at(n_events, (problem_of[is_event], channel_of[is_event]), spans.counts[is_event])
    event_scale = (layout.window[..., 1] - layout.window[..., 0]) / np.maximum(n_events, 1.0)
    table = ShapeTable()
    for of_point in entries:
        for entry in of_point:
            table.add(entry.signal if entry is not None else None)
    fills: list[tuple[int, int, int, int, float]] = []
    copies: list[tuple[int, int, int, float]] = []
    for p, of_point in enumerate(entries):
        for c, entry in enumerate(of_point):
            if entry is None:
                continue
            begin, end = int(spans.start[p, c]), int(spans.start[p, c + 1])
            place = int(column_start[p, c]) + n_signal * (end - begin)
            background = entry.background
            peaks = [(component.peak, component.events) for component in entry.components]
            if isinstance(background, TemplateBackground) and layout.n_linear[p, c] == 1:
                peaks.append((background, 1.0))
            for peak, n_expected in peaks:
                if peak is None:
                    columns[place] = n_expected
                elif isinstance(peak, SIGNALS):  # normalised in the window, as the signal itself
                    scale = n_expected * layout.share[p].sum() / layout.share[p, c]
                    copies.append((int(column_start[p, c]), place, end - begin, scale))
                else:
                    item = table.add(peak)
                    whole = 1.0 if isinstance(peak, TemplateBackground) else table.whole(item)
                    fills.append((item, begin, end, place, n_expected / whole))
                place += end - begin
            if isinstance(background, KnownBackground) and layout.n_linear[p, c] == 1:
                columns[place] = background.yield_
                columns[place + 1] = (background.yield_ / background.uncertainty) ** 2
    shapes = table.shapes()
    share = layout.share / layout.share.sum(axis=1, keepdims=True)

    def build(first: int, last: int) -> None:
        build_columns(
            spans.start, column_start, spans.low, spans.high, spans.exposure, event_scale, shapes, share,
            morphs.shifts, morphs.wider, morphs.narrower, curved, layout.n_components, layout.family,
            layout.order, layout.window, columns, first, last,
        )  # fmt: skip

    run_in_threads(build, n_problems, threads)
    for origin, place, size, factor in copies:
        columns[place : place + size] = factor * columns[origin : origin + size]
    if fills:
        items, begins, ends_of, places, scale = (np.array(x) for x in zip(*fills, strict=True))
        fill_peaks(shapes, items, begins, ends_of, places, scale, spans.low, spans.high, columns)
        for _, begin, end, place, _ in fills:
            p, c = problem_of[begin], channel_of[begin]
            columns[place : place + end - begin] *= np.where(is_event[begin:end], event_scale[p, c], 1.0)
    return Rows(
        spans.start,
        column_start,
        columns,
        spans.counts,
        spans.exposure,
        *_slope_rows(spans, layout, event_scale, problem_of, channel_of),
        _near_peak(spans, table, n_channels, problem_of, channel_of),
    )


def _owners(start: Integers) -> tuple[Integers, Integers]:
    n_problems, n_channels = start.shape[0], start.shape[1] - 1
    sizes = np.diff(start, axis=1).ravel()
    owner = np.repeat(np.arange(n_problems * n_channels), sizes)
    return owner // n_channels, owner % n_channels


def _slope_rows(
    spans: Spans, layout: Layout, event_scale: Floats, problem_of: Integers, channel_of: Integers
) -> tuple[Floats, Floats, Floats]:
    if not np.any(layout.has_slope):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    of = (problem_of, channel_of)
    low, high = spans.low, spans.high
    power = (layout.family == POWER)[of]
    window = layout.window[of]
    with np.errstate(divide="ignore", invalid="ignore"):
        t0 = np.where(power, np.log(low), low)
        t1 = np.where(power, np.log(high), high)
        a = np.where(power, np.log(window[:, 0]), window[:, 0])
        b = np.where(power, np.log(window[:, 1]), window[:, 1])
        half = 0.5 * (b - a)
        position = (0.5 * (t0 + t1) - 0.5 * (a + b)) / half
        width = (t1 - t0) / half
        density = np.where(power, 1.0 / (low * half), 1.0 / half) * event_scale[of]
    scale = 0.5 * np.where(spans.exposure > 0, width, density)
    used = layout.has_slope[of] == 1
    return tuple(np.where(used, x, 0.0) for x in (position, width, scale))  # type: ignore[return-value]


def _near_peak(
    spans: Spans, table: ShapeTable, n_channels: int, problem_of: Integers, channel_of: Integers
) -> Floats:
    if np.any(spans.exposure == 0):
        return np.zeros(0)
    item = problem_of * n_channels + channel_of
    mean, sigma = np.array(table.mean)[item], np.array(table.sigma)[item]
    overlap = np.minimum(spans.high, mean + 2 * sigma) - np.maximum(spans.low, mean - 2 * sigma)
    inside = np.clip(overlap / (spans.high - spans.low), 0.0, 1.0)
    counting = np.array(table.kind)[item] == COUNT
    return np.where(counting, np.where(spans.low == 0.0, 1.0, 0.0), inside)
