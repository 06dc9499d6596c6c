"""Exact CLs of counts whose nuisances are averaged over their constraints, without toys.

Where hardly any background is expected a fit has nothing to fit, and toys take seconds a point. Few counts
can be enumerated instead: their probabilities are Poisson ones averaged over what is known of the background
and of the signal's efficiency, and CLs is a sum over the outcomes that look no more like signal than the
data. Outcomes are ordered by the ratio of likelihoods at the nominal expectations; one count by itself.

References:
    R. Cousins and V. Highland, Nucl. Instrum. Meth. A 320 (1992) 331 (averaging over nuisances);
    A. L. Read, J. Phys. G 28 (2002) 2693 (CLs); T. Junk, Nucl. Instrum. Meth. A 434 (1999) 435 (channels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, ndtr, ndtri
from scipy.stats import qmc

from darksieve.evaluation.limits.counting import Constraint

Floats = NDArray[np.float64]

LEAST_BACKGROUND = 1e-9  # events: so that an event where none is expected has a finite likelihood ratio
_N_QUADRATURE = 32  # nodes of one averaged nuisance: CLs to 1e-6 for sizes up to 0.5
_N_POINTS = 256  # quasi-random nodes of several
_TAIL = 1e-7  # probability of background counts that are not enumerated
MOST_OUTCOMES = 200_000


@dataclass(frozen=True)
class CountedChannel:
    """One count of a point.

    Attributes:
        signal: Expected signal events for one unit of the parameter, > 0.
        background: Expected background events.
        uncertainty: Their absolute error.
        constraint: What is known of them, as in ``counting.Count``.
        sizes: Relative sizes of the nuisances on the signal, in the order that all channels share.
    """

    signal: float
    background: float
    uncertainty: float = 0.0
    constraint: Constraint = "gamma"
    sizes: tuple[float, ...] = ()


@lru_cache(maxsize=4096)
def _background_pmf(background: float, uncertainty: float, constraint: Constraint) -> Floats:
    """Probabilities of 0, 1, … background events, averaged over what is known of their expectation."""
    b = max(background, LEAST_BACKGROUND)
    top = int(b + 8 * math.sqrt(b + uncertainty**2) + 12)
    n = np.arange(top + 1)
    if uncertainty == 0:
        return np.exp(n * math.log(b) - b - gammaln(n + 1))
    if constraint == "gamma":  # a negative binomial: Poisson over a gamma of this mean and error
        shape, rate = (b / uncertainty) ** 2, b / uncertainty**2
        log_p = gammaln(n + shape) - gammaln(shape) - gammaln(n + 1)
        return np.exp(log_p + shape * math.log(rate / (1 + rate)) - n * math.log1p(rate))
    levels = ndtri((np.arange(_N_POINTS) + 0.5) / _N_POINTS)
    if constraint == "gaussian":
        means = np.maximum(b + uncertainty * levels, LEAST_BACKGROUND)
    else:
        means = b * (1 + uncertainty / b) ** levels
    log_p = n * np.log(means)[:, None] - means[:, None] - gammaln(n + 1)
    return np.exp(log_p).mean(axis=0)


def _nuisance_nodes(channels: Sequence[CountedChannel]) -> tuple[Floats, Floats]:
    """Factors on the signal at nodes of the nuisances, shape (n_nodes, n_channels), and their weights."""
    logs = np.log1p(np.array([channel.sizes for channel in channels], float)).reshape(len(channels), -1)
    logs = logs[:, np.any(logs != 0, axis=0)]
    common = np.all(logs == logs[:1], axis=0)  # moves all channels alike: such nuisances act as one
    parts = [np.hypot.reduce(logs[:, common], axis=1)[:, None]] if common.any() else []
    parts += [logs[:, [k]] for k in np.flatnonzero(~common)]
    if not parts:
        return np.ones((1, len(channels))), np.ones(1)
    own = np.concatenate(parts, axis=1)  # (n_channels, n_nuisances)
    if own.shape[1] == 1:
        x, w = np.polynomial.hermite_e.hermegauss(_N_QUADRATURE)
        theta, weights = x[:, None], w / w.sum()
    else:
        points = qmc.Sobol(own.shape[1], scramble=False).random(_N_POINTS) + 0.5 / _N_POINTS
        theta, weights = ndtri(points), np.full(_N_POINTS, 1 / _N_POINTS)
    return np.exp(theta @ own.T), weights


@dataclass(frozen=True, eq=False)
class MarginalCounts:
    """The counts of one point."""

    channels: tuple[CountedChannel, ...]

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats]:
        return _nuisance_nodes(self.channels)

    @cached_property
    def _pmfs(self) -> list[Floats]:
        return [_background_pmf(c.background, c.uncertainty, c.constraint) for c in self.channels]

    def _scores(self, strength: float) -> Floats:
        """ln of the likelihood ratio that one event of each channel adds, shape (n_channels,)."""
        signal = np.array([channel.signal for channel in self.channels])
        background = np.array([channel.background for channel in self.channels])
        if len(signal) == 1:
            return np.ones(1)  # counts order themselves
        return np.log1p(strength * signal / np.maximum(background, LEAST_BACKGROUND))

    def _statistics(self, strength: float, tops: Sequence[int]) -> Floats:
        """Of every outcome up to these counts, shape (tops[0] + 1, …)."""
        total: Floats = np.zeros(())
        for score, top in zip(self._scores(strength), tops, strict=True):
            total = total[..., None] + score * np.arange(top + 1)
        return total

    def _background_cdf(self, strength: float) -> tuple[Floats, Floats]:
        """Statistics of outcomes of background alone, rising, and the probability up to each."""
        pmfs = [pmf[: _enough(pmf)] for pmf in self._pmfs]
        _check_number([len(pmf) for pmf in pmfs])
        probability: Floats = np.ones(())
        for pmf in pmfs:
            probability = probability[..., None] * pmf
        statistics = self._statistics(strength, [len(pmf) - 1 for pmf in pmfs]).ravel()
        order = np.argsort(statistics, kind="stable")
        return statistics[order], np.cumsum(probability.ravel()[order])

    def _probability_up_to(self, threshold: float, strength: float) -> float:
        """P(statistic ≤ threshold) with signal of a strength, nuisances averaged."""
        scores = self._scores(strength)
        tops = [int((threshold + _SLACK) / score) for score in scores]
        if any(top < 0 for top in tops):
            return 0.0
        _check_number([top + 1 for top in tops])
        kept = self._statistics(strength, tops) <= threshold + _SLACK
        factors, weights = self._nodes
        probability: Floats = np.ones((len(weights), *(1 for _ in tops)))
        for i, (channel, top) in enumerate(zip(self.channels, tops, strict=True)):
            own = self._channel_pmf(i, strength * channel.signal * factors[:, i], top)
            shape = [len(weights), *(top + 1 if k == i else 1 for k in range(len(tops)))]
            probability = probability * own.reshape(shape)
        return float(weights @ (probability * kept).reshape(len(weights), -1).sum(axis=1))

    def _channel_pmf(self, i: int, signal: Floats, top: int) -> Floats:
        """Probabilities of 0 … top events of one channel at each node, shape (n_nodes, top + 1)."""
        n = np.arange(top + 1)
        with np.errstate(divide="ignore"):
            log_signal = np.log(np.maximum(signal, 1e-300))[:, None]
        of_signal = np.exp(n * log_signal - signal[:, None] - gammaln(n + 1))
        background = self._pmfs[i][: top + 1]
        out = np.zeros_like(of_signal)
        for k, p in enumerate(background):
            out[:, k:] += p * of_signal[:, : top + 1 - k]
        return out

    def observed_statistic(self, counts: Sequence[int], strength: float) -> float:
        """That of observed counts."""
        return float(self._scores(strength) @ np.asarray(counts, float))

    def expected_statistic(self, level: float, strength: float) -> float:
        """That of background alone at a level of the band: the smallest with P(≤ it) ≥ Φ(level)."""
        statistics, cumulative = self._background_cdf(strength)
        at = np.searchsorted(cumulative, min(float(ndtr(level)), cumulative[-1]) - 1e-12)
        return float(statistics[min(at, len(statistics) - 1)])

    def cls(self, strength: float, counts: Sequence[int] | None, level: float = 0.0) -> float:
        """CLs of a strength for observed counts, or for background alone at a level of the band.

        Args:
            strength: In units of the parameter, at least 0.
            counts: Observed, one per channel; None for the expected ones.
            level: Of the band, where there are no counts.
        """
        if strength <= 0:
            return 1.0
        threshold = (
            self.expected_statistic(level, strength)
            if counts is None
            else self.observed_statistic(counts, strength)
        )
        with_signal = self._probability_up_to(threshold, strength)
        without = self._probability_up_to_without(threshold, strength)
        return min(with_signal / without, 1.0) if without > 0 else 1.0

    def _probability_up_to_without(self, threshold: float, strength: float) -> float:
        statistics, cumulative = self._background_cdf(strength)
        at = int(np.searchsorted(statistics, threshold + _SLACK, side="right"))
        return float(cumulative[at - 1]) if at > 0 else 0.0

    def limit(
        self, counts: Sequence[int] | None, confidence_level: float = 0.95, level: float = 0.0
    ) -> float:
        """Upper limit on the strength, for observed counts or at a level of the expected band."""
        total = sum(channel.signal for channel in self.channels)
        if not total > 0:
            raise ValueError("no channel has signal: there is no limit")
        if len(self.channels) == 1:  # in signal events it hangs on no efficiency
            (channel,) = self.channels
            of_one = replace(channel, signal=1.0)
            observed = None if counts is None else counts[0]
            return _limit_of_one(of_one, observed, confidence_level, level) / channel.signal
        return self._solved(counts, confidence_level, level, total)

    def _solved(
        self, counts: Sequence[int] | None, confidence_level: float, level: float, total: float
    ) -> float:
        alpha = 1 - confidence_level
        high = 3.0 / total
        while self.cls(high, counts, level) > alpha:
            high *= 2
        return float(brentq(lambda mu: self.cls(mu, counts, level) - alpha, 0.0, high, rtol=1e-6))

    def p0(self, counts: Sequence[int], strength: float) -> float:
        """P(statistic ≥ that of the data) of background alone, ordered as for this strength."""
        statistics, cumulative = self._background_cdf(strength)
        at = int(np.searchsorted(statistics, self.observed_statistic(counts, strength) - _SLACK))
        return max(float(1 - cumulative[at - 1]) if at > 0 else 1.0, 0.0)


@lru_cache(maxsize=100_000)
def _limit_of_one(channel: CountedChannel, count: int | None, confidence_level: float, level: float) -> float:
    problem = MarginalCounts((channel,))
    return problem._solved(None if count is None else [count], confidence_level, level, channel.signal)


_SLACK = 1e-9  # of statistics that count as equal


def _enough(pmf: Floats) -> int:
    """How many counts hold all but a negligible probability."""
    missing = 1 - np.cumsum(pmf)
    return int(np.argmax(missing < _TAIL)) + 1 if (missing < _TAIL).any() else len(pmf)


def _check_number(lengths: Sequence[int]) -> None:
    n = math.prod(lengths)
    if n > MOST_OUTCOMES:
        raise ValueError(f"{n} outcomes are too many to enumerate; ask for toys or the asymptotic formulae")
