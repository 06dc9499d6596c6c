"""CLs limits of a HistFactory workspace: fits, asymptotic answers and toys.

References:
    G. Cowan, K. Cranmer, E. Gross, O. Vitells, arXiv:1007.1727.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from darksieve.evaluation.limits.asimov import SIGMA_LEVELS, limit_significance
from darksieve.evaluation.limits.counting import asymptotic_cls
from darksieve.evaluation.limits.histfactory_kernel import (
    CONVERGED,
    NORMAL,
    POISSON,
    expected_rates,
    minimise,
    minimise_toys,
    negative_log_likelihood,
    value_and_gradient,
)
from darksieve.evaluation.limits.toy_limits import Toys
from darksieve.evaluation.limits.workspace import Workspace

Floats = NDArray[np.float64]
TestStatistic = Literal["qtilde", "q"]
TOLERANCE = 1e-10  # of −ln L


@dataclass(frozen=True)
class Fit:
    """A minimum of −ln L.

    Attributes:
        value: −ln L in saturated form.
        parameters: Shape (n_parameters,).
        slope: ∂(−ln L)/∂μ at fixed μ, with the rest profiled.
        status: converged, converged_by_minuit or failed.
    """

    value: float
    parameters: Floats
    slope: float
    status: Literal["converged", "converged_by_minuit", "failed"]


@dataclass(frozen=True)
class AsymptoticAnswer:
    """Asymptotic numbers of one workspace; None where the fit failed or there is no signal."""

    observed: float | None
    expected: tuple[float, ...] | None
    best_fit: float | None
    best_fit_error: tuple[float | None, float | None] | None
    p0: float | None
    significance: float | None
    cls_observed: float | None
    cls_expected: tuple[float, ...] | None
    status: Literal["converged", "converged_by_minuit", "failed", "no_signal"]


class Likelihood:
    """The likelihood of a workspace with one data set; remembers fits as starting points of the next.

    Args:
        workspace: The model with its observed data.
        counts: Other counts, shape (n_bins,).
        auxiliary: Other measured values of the constraints, shape (n_parameters,).
    """

    def __init__(
        self, workspace: Workspace, counts: Floats | None = None, auxiliary: Floats | None = None
    ) -> None:
        self.workspace = workspace
        self.counts = np.ascontiguousarray(workspace.counts if counts is None else counts, np.float64)
        self.auxiliary = np.ascontiguousarray(
            workspace.auxiliary if auxiliary is None else auxiliary, np.float64
        )
        self._nearby: dict[float, Floats] = {}
        self._fits: dict[float | None, Fit] = {}
        self.by_minuit = False

    def fit(self, strength: float | None = None) -> Fit:
        """Best fit, with the parameter of interest fixed to ``strength`` or free inside its bounds."""
        if strength in self._fits:
            return self._fits[strength]
        w = self.workspace
        free = w.free.copy()
        starts = []
        if strength is None:
            if self._nearby:
                starts.append(
                    min((self.fit(s) for s in list(self._nearby)), key=lambda fit: fit.value).parameters
                )
        else:
            free[w.poi] = False
            if self._nearby:
                starts.append(self._nearby[min(self._nearby, key=lambda known: abs(known - strength))])
        starts.append(w.start)
        best = Fit(math.inf, w.start, math.nan, "failed")
        for start in starts:
            x = start.copy()
            if strength is not None:
                x[w.poi] = strength
            value, _, slope, state = minimise(
                w.model, x, free, w.lower, w.upper, self.counts, self.auxiliary, TOLERANCE
            )
            if state == CONVERGED:
                best = Fit(float(value), x, float(slope[w.poi]), "converged")
                break
        if best.status == "failed":
            best = self._minuit(strength, free)
            self.by_minuit |= best.status == "converged_by_minuit"
        self._fits[strength] = best
        if strength is not None and best.status != "failed":
            self._nearby[strength] = best.parameters
        return best

    def _minuit(self, strength: float | None, free: NDArray[np.bool_]) -> Fit:
        from iminuit import Minuit

        w = self.workspace
        rates = np.empty(self.counts.size)
        gradient = np.empty(w.start.size)

        def value(x: Floats) -> float:
            return float(negative_log_likelihood(w.model, np.asarray(x), self.counts, self.auxiliary, rates))

        def slope(x: Floats) -> Floats:
            value_and_gradient(w.model, np.asarray(x), self.counts, self.auxiliary, gradient)
            return gradient.copy()

        start = w.start.copy()
        if strength is not None:
            start[w.poi] = strength
        minuit = Minuit(value, start, grad=slope, name=[f"x{i}" for i in range(start.size)])
        minuit.errordef = Minuit.LIKELIHOOD
        minuit.limits = list(zip(w.lower, w.upper, strict=True))
        minuit.fixed = list(~free)
        if strength is not None:
            minuit.limits[w.poi] = (None, None)
        minuit.strategy = 2
        minuit.tol = 1e-4
        minuit.migrad(ncall=20000)
        x = np.array(minuit.values)
        if not minuit.valid or not math.isfinite(minuit.fval):
            return Fit(math.inf, x, math.nan, "failed")
        return Fit(float(minuit.fval), x, float(slope(x)[w.poi]), "converged_by_minuit")

    def q(self, strength: float, statistic: TestStatistic = "qtilde") -> float:
        """Test statistic of a strength: 0 below the best fit, against 0 where q̃ finds a negative best fit."""
        best = self.fit()
        mu = float(best.parameters[self.workspace.poi])
        if mu > strength:
            return 0.0
        reference = self.fit(0.0) if statistic == "qtilde" and mu < 0 else best
        return max(0.0, 2 * (self.fit(strength).value - reference.value))

    def asimov(self, strength: float = 0.0) -> Likelihood:
        """The Asimov data set at the parameters that fit best for a strength, constraints included."""
        x = self.fit(strength).parameters
        w = self.workspace
        made = Likelihood(w, self.rates(x), expected_auxiliary(w, x))
        made._nearby = {strength: x}
        return made

    def rates(self, parameters: Floats) -> Floats:
        """Expected events per bin, shape (n_bins,)."""
        rates = np.empty(self.counts.size)
        expected_rates(self.workspace.model, parameters, rates)
        return rates


def expected_auxiliary(workspace: Workspace, parameters: Floats) -> Floats:
    """Expected values of the constraints' measurements, shape (n_parameters,)."""
    kind, scale = workspace.model.constraint, workspace.model.scale
    expected = np.where(kind == NORMAL, parameters, workspace.auxiliary)
    return np.where(kind == POISSON, scale * parameters, expected)


def has_signal(workspace: Workspace) -> bool:
    """Whether the parameter of interest changes any expected rate."""
    rates = np.empty((2, workspace.counts.size))
    x = workspace.start.copy()
    for i, strength in enumerate((0.0, 1.0)):
        x[workspace.poi] = strength
        expected_rates(workspace.model, x, rates[i])
    return bool(np.any(rates[0] != rates[1]))


def background_under_signal(workspace: Workspace, *, fraction: float = 0.9545) -> float:
    """Background events, before the fit, in the bins that hold this fraction of the signal, best bins first.

    What ±2σ of a peak is for a spectrum without one: the bins in order of signal over background.
    """
    rates = np.empty((2, workspace.counts.size))
    x = workspace.start.copy()
    for i, strength in enumerate((0.0, 1.0)):
        x[workspace.poi] = strength
        expected_rates(workspace.model, x, rates[i])
    background, signal = rates[0], np.maximum(rates[1] - rates[0], 0.0)
    if signal.sum() <= 0:
        return float(background.sum())
    order = np.argsort(-signal / np.maximum(background, 1e-9), kind="stable")
    held = np.cumsum(signal[order]) / signal.sum()
    n_bins = int(np.searchsorted(held, fraction - 1e-12)) + 1
    return float(background[order[:n_bins]].sum())


def _expected_limit(asimov: Likelihood, root: float, start: float) -> float | None:
    """The strength where √q_A meets a value: Newton, as √q_A is nearly straight."""
    mu = start
    for _ in range(100):
        fit = asimov.fit(mu)
        if fit.status == "failed":
            return None
        value = math.sqrt(max(2 * fit.value, 0.0))
        if value < 1e-6 or not fit.slope > 0:
            mu *= 10
            continue
        step = (root - value) * value / fit.slope  # d√q/dμ = slope/√q
        new = min(max(mu + step, mu / 10), mu * 10)
        if abs(new - mu) <= 1e-9 * mu:
            return new
        mu = new
    return None


def asymptotic_answer(
    workspace: Workspace,
    confidence_level: float = 0.95,
    *,
    test_statistic: TestStatistic = "qtilde",
    levels: Sequence[float] = SIGMA_LEVELS,
    cls_at: float | None = None,
) -> AsymptoticAnswer:
    """Observed and expected asymptotic CLs limits, best fit, p0 and, on request, CLs at a strength.

    The Asimov set is the post-fit background-only expectation, as in pyhf.

    Args:
        workspace: Model and data.
        confidence_level: Of the limits.
        test_statistic: ``qtilde`` or ``q``.
        levels: Of the band, in standard deviations.
        cls_at: Strength at which CLs is wanted, too.
    """
    nothing = AsymptoticAnswer(None, None, None, None, None, None, None, None, "failed")
    if not has_signal(workspace):
        return AsymptoticAnswer(None, None, None, None, None, None, None, None, "no_signal")
    data = Likelihood(workspace)
    zero, best = data.fit(0.0), data.fit()
    if "failed" in (zero.status, best.status):
        return nothing
    asimov = data.asimov()
    roots = np.atleast_1d(limit_significance(confidence_level, list(levels)))
    expected: list[float] = []
    start = 1.0
    for root in roots:
        found = _expected_limit(asimov, float(root), start)
        if found is None:
            return nothing
        expected.append(found)
        start = found
    mu = float(best.parameters[workspace.poi])
    log_alpha = math.log1p(-confidence_level)

    def log_cls(strength: float) -> float:
        q, q_asimov = data.q(strength, test_statistic), max(0.0, 2 * asimov.fit(strength).value)
        return log_asymptotic_cls(q, q_asimov, test_statistic) - log_alpha

    low = max(1e-3 * expected[0], mu if mu > 0 else 0.0)
    high = max(expected[len(expected) // 2], mu)
    observed: float | None = None
    try:
        while log_cls(low) < 0 and low > 1e-9 * expected[0]:
            high, low = low, low / 4
        for _ in range(200):
            value = log_cls(high)
            if value < 0:
                break
            low, high = high, high + max(0.5 * expected[len(expected) // 2], 0.3 * (high - mu))
        if log_cls(low) >= 0 > log_cls(high):
            observed = float(brentq(log_cls, low, high, xtol=1e-10 * high, rtol=1e-10))
    except (ValueError, OverflowError):
        observed = None
    q_zero = max(0.0, 2 * (zero.value - best.value))
    significance = math.copysign(math.sqrt(q_zero), mu) if mu != 0 else 0.0
    cls_observed, cls_expected = None, None
    if cls_at is not None:
        q_asimov = max(0.0, 2 * asimov.fit(cls_at).value)
        q_observed = data.q(cls_at, test_statistic)
        cls_observed = math.exp(log_asymptotic_cls(q_observed, q_asimov, test_statistic))
        root = math.sqrt(q_asimov)
        cls_expected = tuple(float(np.exp(log_ndtr(level - root) - log_ndtr(level))) for level in levels)
    failed = observed is None or not math.isfinite(zero.value + best.value)
    by_minuit = data.by_minuit or asimov.by_minuit
    return AsymptoticAnswer(
        observed,
        tuple(expected),
        mu,
        _interval(data, best, mu, expected[-1]),
        float(ndtr(-significance)),
        significance,
        cls_observed,
        cls_expected,
        "failed" if failed else "converged_by_minuit" if by_minuit else "converged",
    )


def log_asymptotic_cls(q: float, q_asimov: float, statistic: TestStatistic = "qtilde") -> float:
    """ln CLs from the observed and the Asimov test statistic."""
    if statistic == "qtilde":
        return math.log(max(asymptotic_cls(q, q_asimov), 1e-300))
    root, root_asimov = math.sqrt(q), math.sqrt(q_asimov)
    return float(log_ndtr(-root)) - float(log_ndtr(root_asimov - root))


def _interval(data: Likelihood, best: Fit, mu: float, scale: float) -> tuple[float | None, float | None]:
    # where −ln L rises by a half; None where a bound of the parameter comes first
    def rise(strength: float) -> float:
        return data.fit(strength).value - best.value - 0.5

    bounds = (data.workspace.lower[data.workspace.poi], data.workspace.upper[data.workspace.poi])
    errors: list[float | None] = []
    for bound, sign in zip(bounds, (-1, 1), strict=True):
        step, error = 0.1 * scale, None
        inner = mu
        for _ in range(60):
            outer = mu + sign * step
            if sign * (outer - bound) > 0:
                outer = float(bound)
            value = rise(outer)
            if value > 0:
                if math.isfinite(value):
                    error = float(brentq(rise, inner, outer, xtol=1e-9 * scale)) - mu
                break
            if outer == bound:
                break
            inner, step = outer, 1.7 * step
        errors.append(error)
    return (errors[0], errors[1])


class WorkspaceToys:
    """Toys of a workspace: constraint terms are sampled, nuisances profiled in every toy.

    Toys are thrown at the parameters that fit the data best for each strength (background only: for zero).

    Args:
        workspace: Model and data.
        test_statistic: ``qtilde`` or ``q``.
        seed: Of the streams; each sample of toys has its own, so the numbers do not depend on the order.
    """

    def __init__(
        self, workspace: Workspace, *, test_statistic: TestStatistic = "qtilde", seed: np.random.SeedSequence
    ) -> None:
        self.workspace = workspace
        self.statistic: TestStatistic = test_statistic
        self.seed = seed
        self.data = Likelihood(workspace)
        self._background: dict[tuple[int, int], tuple[Floats, Floats, Floats, Floats]] = {}

    def generate(self, strength: float, n_toys: int, stream: tuple[int, int]) -> tuple[Floats, Floats]:
        """Counts, shape (n_toys, n_bins), and constraint measurements, shape (n_toys, n_parameters)."""
        w = self.workspace
        x = self.data.fit(strength).parameters
        rates = np.maximum(self.data.rates(x), 0.0)
        sequence = np.random.SeedSequence(self.seed.entropy, spawn_key=(*self.seed.spawn_key, *stream))
        generator = np.random.default_rng(sequence)
        counts = generator.poisson(rates, size=(n_toys, rates.size)).astype(np.float64)
        auxiliary = np.tile(w.auxiliary, (n_toys, 1))
        normal = w.model.constraint == NORMAL
        poisson = w.model.constraint == POISSON
        auxiliary[:, normal] = generator.normal(x[normal], w.model.scale[normal], (n_toys, int(normal.sum())))
        mean = w.model.scale[poisson] * x[poisson]
        auxiliary[:, poisson] = generator.poisson(mean, (n_toys, int(poisson.sum())))
        return counts, auxiliary

    def _minima(
        self, counts: Floats, auxiliary: Floats, strength: float | None, start: Floats
    ) -> tuple[Floats, Floats]:
        w = self.workspace
        free, x = w.free.copy(), start.copy()
        if strength is not None:
            free[w.poi] = False
            x[w.poi] = strength
        values = np.empty(len(counts))
        results = np.empty((len(counts), x.size))
        status = np.empty(len(counts), np.int64)
        minimise_toys(w.model, x, free, w.lower, w.upper, counts, auxiliary, 1e-7, values, results, status)
        values[status != CONVERGED] = np.nan
        return values, results[:, w.poi]

    def _free(self, counts: Floats, auxiliary: Floats, strength: float) -> tuple[Floats, Floats]:
        # best fit of each toy and, for q̃, −ln L at zero where the best fit is negative
        start = self.data.fit(strength).parameters
        reference, mu = self._minima(counts, auxiliary, None, start)
        negative = mu < 0
        if self.statistic == "qtilde" and np.any(negative):
            at_zero, _ = self._minima(
                counts[negative], auxiliary[negative], 0.0, self.data.fit(0.0).parameters
            )
            reference[negative] = at_zero
        return reference, mu

    def _q(self, counts: Floats, auxiliary: Floats, strength: float, reference: Floats, mu: Floats) -> Floats:
        value, _ = self._minima(counts, auxiliary, strength, self.data.fit(strength).parameters)
        q = np.maximum(0.0, 2 * (value - reference))
        q[mu > strength] = 0.0
        return q

    def test_statistics(self, strength: float, n_toys: int, chunk: int = 0) -> Toys:
        """Toys with and without signal; those whose fit fails are left out."""
        if (n_toys, chunk) not in self._background:
            counts, auxiliary = self.generate(0.0, n_toys, (0, chunk))
            self._background[n_toys, chunk] = (counts, auxiliary, *self._free(counts, auxiliary, 0.0))
        counts, auxiliary, reference, mu = self._background[n_toys, chunk]
        background = self._q(counts, auxiliary, strength, reference, mu)
        good = np.isfinite(background)
        weight = np.exp(np.minimum(self._log_weight(counts[good], auxiliary[good], strength), 700.0))
        stream = 1 + int(np.float64(strength).view(np.uint64)) % (2**62)
        counts, auxiliary = self.generate(strength, n_toys, (stream, chunk))
        reference, mu = self._free(counts, auxiliary, strength)
        signal = self._q(counts, auxiliary, strength, reference, mu)
        observed = self.data.q(strength, self.statistic)
        return Toys(observed, signal[np.isfinite(signal)], background[good], weight)

    def _log_weight(self, counts: Floats, auxiliary: Floats, strength: float) -> Floats:
        # ln of the toys' probability with signal over that without, as they are thrown
        total = np.zeros(len(counts))
        w = self.workspace
        normal, poisson = w.model.constraint == NORMAL, w.model.constraint == POISSON
        for sign, mu in ((1, strength), (-1, 0.0)):
            x = self.data.fit(mu).parameters
            rates = np.maximum(self.data.rates(x), 1e-300)
            total += sign * (counts @ np.log(rates) - rates.sum())
            pull = (auxiliary[:, normal] - x[normal]) / w.model.scale[normal]
            total -= sign * 0.5 * (pull**2).sum(axis=1)
            mean = w.model.scale[poisson] * x[poisson]
            total += sign * (auxiliary[:, poisson] @ np.log(mean) - mean.sum())
        return total

    def discovery_statistics(self, n_toys: int) -> tuple[float, Floats]:
        """Signed √q0 observed and of background-only toys."""
        best, zero = self.data.fit(), self.data.fit(0.0)
        mu_data = float(best.parameters[self.workspace.poi])
        observed = math.copysign(math.sqrt(max(0.0, 2 * (zero.value - best.value))), mu_data)
        counts, auxiliary = self.generate(0.0, n_toys, (0, 0))
        start = zero.parameters
        at_best, mu = self._minima(counts, auxiliary, None, start)
        at_zero, _ = self._minima(counts, auxiliary, 0.0, start)
        root = np.copysign(np.sqrt(np.maximum(0.0, 2 * (at_zero - at_best))), mu)
        return observed if mu_data != 0 else 0.0, root[np.isfinite(root)]
