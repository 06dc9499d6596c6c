"""CLs limits from toys, whatever the likelihood: strengths are tried until the limits are known well enough.

At every strength tried, CLs = p(s+b) / p(b) from toys thrown there; ln CLs against the strength, nearly
straight, is then solved for the confidence level. Bands are CLs of the background-only toys' own quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from darksieve.evaluation.limits.asimov import SIGMA_LEVELS

Floats = NDArray[np.float64]
N_STRENGTHS = 10  # tried first
MOST_UNCOVERED = 0.25  # of the toys with signal beyond a threshold, to the near side of all those without
TIE = 1e-5  # toys whose test statistic differs by less count as equal: discrete counts, numerical noise


@dataclass(frozen=True, eq=False)
class Toys:
    """Test statistics of toys at one strength.

    Attributes:
        observed: q of the data, None while blind.
        with_signal: q of toys thrown with the signal, shape (n_toys,).
        without_signal: q of toys thrown without, shape (n_toys,).
        weight: Probability of the toys without signal were they thrown with it, relative to how they were
            thrown, shape (n_toys,).
    """

    observed: float | None
    with_signal: Floats
    without_signal: Floats
    weight: Floats


class ToySource(Protocol):
    """What can throw toys at a strength and give their test statistic."""

    def test_statistics(self, strength: float, n_toys: int, chunk: int = 0) -> Toys:
        """Toys of both hypotheses; the toys without signal of a chunk are the same at every strength."""


@dataclass(frozen=True)
class ToyCLs:
    """CLs at one strength.

    Attributes:
        strength: The strength.
        observed: CLs of the data, None while blind.
        observed_error: Its statistical error.
        expected: CLs at the band's levels.
        expected_error: Their statistical errors.
        n_toys: Toys per hypothesis.
    """

    strength: float
    observed: float | None
    observed_error: float | None
    expected: tuple[float, ...]
    expected_error: tuple[float, ...]
    n_toys: int


@dataclass(frozen=True)
class ToyLimits:
    """Limits by toys with their errors; None where the strengths tried do not bracket the limit."""

    observed: float | None
    observed_error: float | None
    expected: tuple[float | None, ...]
    expected_error: tuple[float | None, ...]
    n_toys: int


class ToySample:
    """Test statistics of toys at one strength; samples of more chunks are added to it.

    Args:
        source: Throws the toys.
        strength: At which they are thrown.
    """

    def __init__(self, source: ToySource, strength: float) -> None:
        self.source = source
        self.strength = strength
        self.observed: float | None = None
        self.signal: Floats = np.empty(0)
        self.background: Floats = np.empty(0)
        self.weight: Floats = np.empty(0)
        self.n_chunks = 0

    def throw(self, n_toys: int) -> None:
        """Add a chunk of toys of both hypotheses.

        Raises:
            ValueError: If no toy could be fitted.
        """
        toys = self.source.test_statistics(self.strength, n_toys, self.n_chunks)
        if len(toys.with_signal) == 0 or len(toys.without_signal) == 0:
            raise ValueError(f"no toy could be fitted at strength {self.strength}")
        self.observed = toys.observed
        self.n_chunks += 1
        self.signal = np.sort(np.concatenate((self.signal, toys.with_signal)))
        background = np.concatenate((self.background, toys.without_signal))
        order = np.argsort(background, kind="stable")
        self.background = background[order]
        self.weight = np.concatenate((self.weight, toys.weight))[order]

    def cls(self, threshold: float) -> tuple[float, float, float]:
        """CLs of a test statistic and the relative errors that the two samples of toys give it.

        Far below the mean, where few toys with signal come, CLs is the mean weight of the toys without signal
        beyond the threshold: the same expectation with a much smaller error. It is taken where no single toy
        carries more than a fifth of it, and where the toys with signal do not contradict it: background alone
        may hardly ever come where a signal would (no event, against one), and then has nothing to weigh.
        """
        p_signal, error_signal = _tail(self.signal, threshold)
        p_background, error_background = _tail(self.background, threshold)
        if p_background == 0:
            return 0.0, error_signal, error_background
        beyond = self.weight[_first_beyond(self.background, threshold) :]
        mean = float(beyond.mean())
        if len(beyond) > 10 and 0 < beyond.max() < 0.2 * beyond.sum():
            error = float(beyond.std()) / (mean * math.sqrt(len(beyond))) + 1e-3
            spread = math.hypot(max(p_signal, 1 / len(self.signal)) * error_signal, p_signal * error)
            agree = abs(p_signal - mean * p_background) < 4 * spread
            # toys with signal between the threshold and the first without: what weights cannot know of
            reached = self.signal[_first_beyond(self.signal, threshold) :]
            first = float(self.background[_first_beyond(self.background, threshold)])
            agree &= _first_beyond(reached, first) <= MOST_UNCOVERED * len(reached)
            if agree and error < math.hypot(error_signal, error_background):
                return mean, 0.0, error
        return p_signal / p_background, error_signal, error_background

    def threshold(self, level: float) -> float:
        """q of the background-only toys at a level of the band: a low limit comes from a large q."""
        rank = math.floor((1 - ndtr(level)) * len(self.background))
        return float(self.background[min(rank, len(self.background) - 1)])


def _first_beyond(sorted_q: Floats, threshold: float) -> int:
    return int(np.searchsorted(sorted_q, threshold - TIE * (1 + threshold), side="left"))


def _tail(sorted_q: Floats, threshold: float) -> tuple[float, float]:
    # P(q ≥ threshold) and its relative error
    n = len(sorted_q)
    n_above = n - _first_beyond(sorted_q, threshold)
    p = max(n_above, 1) / n
    return n_above / n, math.sqrt(p * (1 - p) / n + 1 / n**2) / p


def toy_cls(
    source: ToySource, strength: float, n_toys: int, levels: Sequence[float] = SIGMA_LEVELS
) -> ToyCLs:
    """CLs at one strength: of the data, and of background-only toys at the band's levels.

    Raises:
        ValueError: If no toy could be fitted.
    """
    sample = ToySample(source, strength)
    sample.throw(n_toys)
    expected = [sample.cls(sample.threshold(level)) for level in levels]
    observed = None if sample.observed is None else sample.cls(sample.observed)
    return ToyCLs(
        strength,
        None if observed is None else observed[0],
        None if observed is None else observed[0] * math.hypot(*observed[1:]),
        tuple(value for value, _, _ in expected),
        tuple(value * math.hypot(*errors) for value, *errors in expected),
        min(len(sample.signal), len(sample.background)),
    )


def _solve(strengths: Floats, cls: Floats, alpha: float) -> tuple[float | None, float | None]:
    """Where ln CLs crosses ln α: a weighted parabola through the points near the crossing.

    Args:
        strengths: Tried, increasing, shape (n,).
        cls: CLs and its relative errors from the toys with and without signal, shape (n, 3). The toys without
            signal are common to all strengths: their error is not averaged away.
    """
    known = cls[:, 0] > 0
    x, y = strengths[known], np.log(cls[known, 0])
    sigma, common = cls[known, 1], cls[known, 2]
    target = math.log(alpha)
    if len(x) < 2 or y.max() < target or y.min() > target:
        return None, None
    below = np.flatnonzero(y < target)
    first = int(below[0])
    if first == 0:
        return None, None
    near = np.abs(y - target) < 1.2
    near[first - 1 : first + 1] = True
    order = 2 if near.sum() >= 4 else 1
    centre = x[first - 1] + (x[first] - x[first - 1]) * (y[first - 1] - target) / (y[first - 1] - y[first])
    width = max(x[near].max() - x[near].min(), 1e-12)
    u = (x[near] - centre) / width
    weights = 1 / np.maximum(sigma[near], 1e-4)
    design = np.vander(u, order + 1, increasing=True) * weights[:, None]
    solution, *_ = np.linalg.lstsq(design, (y[near] - target) * weights, rcond=None)
    roots = (
        np.polynomial.polynomial.polyroots(solution) if order == 2 else np.array([-solution[0] / solution[1]])
    )
    real = np.real(roots[np.abs(np.imag(roots)) < 1e-9])
    inside = real[(real > u.min() - 0.2) & (real < u.max() + 0.2)]
    root = float(inside[np.argmin(np.abs(inside))]) if len(inside) else 0.0
    slope = solution[1] + (2 * solution[2] * root if order == 2 else 0.0)
    covariance = np.linalg.pinv(design.T @ design)
    row = np.array([root**k for k in range(order + 1)])
    spread = math.sqrt(max(float(row @ covariance @ row), 0.0))
    if slope == 0:
        return None, None
    spread = math.hypot(spread, float(common[first - 1 : first + 1].min()))
    return float(centre + root * width), float(spread / abs(slope) * width)


def toy_limits(
    source: ToySource,
    guesses: Sequence[float],
    confidence_level: float = 0.95,
    *,
    n_toys: int = 1_000,
    levels: Sequence[float] = SIGMA_LEVELS,
    precision: float = 0.02,
    n_strengths: int = N_STRENGTHS,
    max_rounds: int = 6,
) -> ToyLimits:
    """Observed and expected CLs limits by toys.

    Args:
        source: Throws the toys.
        guesses: Limits to start from, such as the asymptotic ones, > 0; they set the range of strengths.
        confidence_level: Of the limits.
        n_toys: Toys per hypothesis at each strength tried, and in each further round near the limit.
        levels: Of the band.
        precision: Toys are added near the observed (blind: the median) limit until its relative error is
            below this, at most ``max_rounds`` times.
        n_strengths: Strengths tried first, spaced evenly in their logarithm.
        max_rounds: Of refinement.
    """
    alpha = 1 - confidence_level
    usable = [guess for guess in guesses if guess is not None and math.isfinite(guess) and guess > 0]
    if not usable:
        raise ValueError("no positive guess of a limit to start from")
    low, high = 0.6 * min(usable), 1.6 * max(usable)
    tried: dict[float, ToySample] = {}

    def add(strength: float) -> None:
        strength = float(f"{strength:.6g}")
        if strength not in tried:
            tried[strength] = ToySample(source, strength)
            tried[strength].throw(n_toys)

    def curve(column: int) -> Floats:
        samples = [tried[x] for x in sorted(tried)]
        if column < 0:
            found = np.array([sample.cls(sample.observed or 0.0) for sample in samples])
        else:
            found = np.array([sample.cls(sample.threshold(levels[column])) for sample in samples])
        return found

    for strength in np.geomspace(low, high, n_strengths):
        add(float(strength))
    blind = next(iter(tried.values())).observed is None
    columns = list(range(0 if blind else -1, len(levels)))
    for _ in range(8):  # widen until every curve crosses
        curves = [curve(column)[:, 0] for column in columns]
        too_high = any(values[0] < alpha for values in curves)
        too_low = any(values[-1] > alpha for values in curves)
        if too_high:
            low /= 1.5
            add(low)
        if too_low:
            high *= 1.4
            add(high)
        if not (too_high or too_low):
            break
    main = int(np.argmin(np.abs(np.asarray(levels)))) if blind else -1
    for n_more in range(max_rounds):
        limit, error = _solve(np.array(sorted(tried)), curve(main), alpha)
        if limit is None:  # too few toys are beyond the data to tell where CLs falls
            for sample in list(tried.values()):
                sample.throw(n_toys * 2 ** min(n_more, 3))
            continue
        if error is None or error < precision * limit:
            break
        add(limit)
        nearest = sorted(tried, key=lambda strength: abs(strength - limit))[:3]
        for strength in nearest:
            tried[strength].throw(n_toys)
    strengths = np.array(sorted(tried))
    found = [
        _solve(strengths, curve(column), alpha)
        for column in ([] if blind else [-1]) + columns[-len(levels) :]
    ]
    observed, observed_error = (None, None) if blind else found.pop(0)
    return ToyLimits(
        observed,
        observed_error,
        tuple(limit for limit, _ in found),
        tuple(error for _, error in found),
        sum(len(sample.signal) for sample in tried.values()),
    )
