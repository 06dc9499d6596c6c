"""A limit at one mass by textbook means: numpy for the likelihood, iminuit for the fits, Brent for the root.

Shares no code with the engine of the limit tool: the peak is integrated from its closed form at every call,
with the width and the mean that the nuisances ask for, so it checks the templates too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from iminuit import Minuit
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import norm

from darksieve.evaluation.limits.document import BinnedData, Point, SearchModel

Floats = NDArray[np.float64]


def crystal_ball_cdf(
    x: Floats, mean: float, sigma: float, tails: tuple[float, float, float, float]
) -> Floats:
    """Integral up to x, not normalised, of a Gaussian core with power-law tails on both sides."""
    a_left, n_left, a_right, n_right = tails
    t = (np.asarray(x, float) - mean) / sigma
    root = np.sqrt(2 * np.pi)

    def tail(u: Floats, a: float, n: float) -> Floats:  # area of the tail beyond -u <= -a
        b = n / a - a
        scale = (n / a) ** n * np.exp(-(a**2) / 2)
        return scale * (b + u) ** (1 - n) / (n - 1)

    left = tail(np.maximum(-t, a_left), a_left, n_left)
    whole_left = tail(np.array(a_left), a_left, n_left)
    core = root * (norm.cdf(np.clip(t, -a_left, a_right)) - norm.cdf(-a_left))
    whole_right = tail(np.array(a_right), a_right, n_right)
    right = whole_right - tail(np.maximum(t, a_right), a_right, n_right)
    return np.where(t < -a_left, left, whole_left + core + np.where(t > a_right, right, 0.0))


@dataclass(frozen=True)
class Channel:
    """Bins of one channel at one mass."""

    low: Floats
    high: Floats
    counts: Floats
    window: tuple[float, float]
    mean: float
    sigma: float
    tails: tuple[float, float, float, float]
    yield_per_unit: float
    order: int
    start: Floats
    peaks: tuple[tuple[Floats, float, dict[str, float]], ...]
    sizes: dict[str, float]

    def signal(self, scale: float, width: float) -> Floats:
        """Signal per bin for one unit of the parameter at pulls of mean and width (in units of size)."""
        mean, sigma = self.mean + scale * self.sigma, self.sigma * (1 + width)
        nominal = crystal_ball_cdf(np.array(self.window), self.mean, self.sigma, self.tails)
        ends = crystal_ball_cdf(np.stack([self.low, self.high]), mean, sigma, self.tails)
        return self.yield_per_unit * (ends[1] - ends[0]) / (nominal[1] - nominal[0])

    def background(self, coefficients: Floats) -> Floats:
        """Chebyshev density integrated over the bins: sum of c_k T_k in the window mapped to [-1, 1]."""
        a, b = self.window
        u = 2 * (np.stack([self.low, self.high]) - a) / (b - a) - 1
        primitive = chebyshev.chebint(coefficients)
        ends = chebyshev.chebval(u, primitive)
        return ends[1] - ends[0]


def channels_of(model: SearchModel, point: Point) -> list[Channel]:
    """The binned channels of a point with a Crystal Ball signal on a Chebyshev background."""
    found = []
    for name, signal in point.channels.items():
        data = model.channel(name).data
        assert isinstance(data, BinnedData)
        edges = np.asarray(data.edges)
        a, b = signal.window
        kept = (edges[:-1] >= a - 1e-9) & (edges[1:] <= b + 1e-9)
        for low, high in signal.exclude or ():
            kept &= (edges[1:] <= low) | (edges[:-1] >= high)
        (family,) = model.background_of(point, name)
        peaks = []
        for peak in getattr(family, "peaking", None) or ():
            tails = (peak.alpha_left, peak.n_left, peak.alpha_right, peak.n_right)
            ends = crystal_ball_cdf(
                np.stack([edges[:-1][kept], edges[1:][kept]]), peak.mean, peak.sigma, tails
            )
            total = float(crystal_ball_cdf(np.array(np.inf), peak.mean, peak.sigma, tails))
            template = peak.yield_ * (ends[1] - ends[0]) / total
            peaks.append((template, peak.uncertainty, peak.sizes))
        counts = np.asarray(data.counts, float)[kept]
        width = np.sum(edges[1:][kept] - edges[:-1][kept])
        start = np.zeros(family.order + 1)
        start[0] = counts.sum() * (b - a) / width / 2
        found.append(
            Channel(
                low=edges[:-1][kept],
                high=edges[1:][kept],
                counts=counts,
                window=(a, b),
                mean=signal.mean,
                sigma=signal.sigma,
                tails=(signal.alpha_left, signal.n_left, signal.alpha_right, signal.n_right),
                yield_per_unit=signal.yield_per_unit,
                order=family.order,
                start=start,
                peaks=tuple(peaks),
                sizes=signal.sizes,
            )
        )
    return found


class Likelihood:
    """Binned Poisson likelihood of one mass with unit-Gaussian nuisances."""

    def __init__(self, model: SearchModel, point: Point) -> None:
        self.channels = channels_of(model, point)
        self.sizes = {n.name: n.size if n.size is not None else n.size_sigma for n in model.nuisances}
        self.names = [n.name for n in model.nuisances]
        self.kind = {n.name: n.kind for n in model.nuisances}
        self.on = {n.name: n.on for n in model.nuisances}
        self.n_peaks = max((len(c.peaks) for c in self.channels), default=0)
        self.data = [c.counts for c in self.channels]
        total = sum(c.yield_per_unit for c in self.channels)
        self.unit = np.sqrt(sum(c.counts.sum() for c in self.channels)) / total  # a strength of natural size

    def expected(self, mu: float, x: Floats) -> list[Floats]:
        """Expected events per bin of each channel."""
        n = len(self.names)
        thetas = dict(zip(self.names, x[:n], strict=True))
        scale = sum(self.sizes[k] * t for k, t in thetas.items() if self.on[k] == "mean")
        width = sum(self.sizes[k] * t for k, t in thetas.items() if self.on[k] == "sigma")
        place = n + self.n_peaks
        out = []
        for c in self.channels:
            coefficients = x[place : place + c.order + 1] * max(c.start[0], 1.0)
            place += c.order + 1
            own = {k: c.sizes.get(k, self.sizes[k] or 0.0) for k in thetas if self.on[k] == "yield"}
            nu = mu * self.factor(own, thetas) * c.signal(scale, width) + c.background(coefficients)
            for (template, size, shared), theta in zip(c.peaks, x[n:], strict=False):
                nu = nu + template * (1 + size) ** theta * self.factor(shared, thetas)
            out.append(nu)
        return out

    def factor(self, sizes: dict[str, float], thetas: dict[str, float]) -> float:
        """What the nuisances on a yield multiply it by."""
        return float(
            np.prod(
                [
                    (1 + size) ** thetas[k] if self.kind[k] == "log_normal" else 1 + size * thetas[k]
                    for k, size in sizes.items()
                ]
            )
        )

    def twice_nll(self, mu: float, x: Floats) -> float:
        """Twice the negative log likelihood in saturated form."""
        total = float(np.sum(x[: len(self.names) + self.n_peaks] ** 2))
        for n, expected in zip(self.data, self.expected(mu, x), strict=True):
            nu = np.maximum(expected, 1e-9)
            total += 2 * float(np.sum(nu - n + n * np.log(np.maximum(n, 1e-300) / nu)))
        return total

    def start(self) -> Floats:
        """Where fits begin."""
        parts = [np.zeros(len(self.names) + self.n_peaks)]
        parts += [np.concatenate([[1.0], np.zeros(c.order)]) for c in self.channels]
        return np.concatenate(parts)

    def fit(self, mu: float | None) -> tuple[float, Floats, float]:
        """Strength, other parameters and minimum of 2NLL; the strength is free if None."""
        x = self.start()
        if mu is None:
            start = np.concatenate([[0.0], x])
            values, least = minimum(lambda p: self.twice_nll(p[0] * self.unit, p[1:]), start)
            return float(values[0] * self.unit), values[1:], least
        return mu, *minimum(lambda p: self.twice_nll(mu, p), x)


def minimum(function: Callable[[Floats], float], start: Floats) -> tuple[Floats, float]:
    """Where MIGRAD finds the least value, begun again with a tighter goal each time.

    A single call stops early now and then: it put one median limit off by 9e-4.
    """
    values, least = np.array(start, float), np.inf
    for tolerance in (1e-1, 1e-2, 1e-3, 1e-4):
        m = Minuit(function, values)
        m.errordef, m.strategy, m.tol = 1.0, 2, tolerance
        m.migrad(ncall=200_000)
        if m.fval <= least:
            values, least = np.array(m.values), float(m.fval)
    return values, least


def limits(model: SearchModel, point: Point, confidence_level: float) -> tuple[float, float]:
    """Observed and median expected CLs limits of one point (q-tilde, post-fit Asimov set)."""
    alpha = 1 - confidence_level
    like = Likelihood(model, point)
    best, _, at_best = like.fit(None)
    _, x_zero, at_zero = like.fit(0.0)
    asimov = Likelihood(model, point)
    asimov.data = like.expected(0.0, x_zero)
    # auxiliary measurements of the Asimov set are the post-fit values: its minimum is its truth
    n = len(like.names) + like.n_peaks
    centre = x_zero[:n]

    def asimov_nll(mu: float, x: Floats) -> float:
        shifted = asimov.twice_nll(mu, x) - float(np.sum(x[:n] ** 2)) + float(np.sum((x[:n] - centre) ** 2))
        return shifted

    def q_asimov(mu: float) -> float:
        return max(minimum(lambda p: asimov_nll(mu, p), x_zero)[1], 0.0)

    def q_observed(mu: float) -> float:
        if best > mu:
            return 0.0
        reference = at_best if best >= 0 else at_zero
        return max(like.fit(mu)[2] - reference, 0.0)

    def cls(mu: float) -> float:
        q, qa = q_observed(mu), q_asimov(mu)
        if q <= qa:
            return float(norm.sf(np.sqrt(q)) / norm.cdf(np.sqrt(qa) - np.sqrt(q)))
        return float(norm.sf((q + qa) / (2 * np.sqrt(qa))) / norm.sf((q - qa) / (2 * np.sqrt(qa))))

    median = _root(lambda mu: np.sqrt(q_asimov(mu)) + ndtri(alpha / 2), like.unit)
    observed = _root(lambda mu: np.log(alpha / max(cls(mu), 1e-12)), median)
    return observed, median


def _root(function: Callable[[float], float], guess: float) -> float:
    high = guess
    while function(high) < 0:
        high *= 2
    low = high
    while function(low) > 0:
        low /= 2
    return float(brentq(function, low, high, rtol=1e-5))
