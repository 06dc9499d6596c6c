"""Toys of a HistFactory workspace."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.histfactory import Likelihood, TestStatistic
from darksieve.evaluation.limits.histfactory_kernel import NORMAL, POISSON
from darksieve.evaluation.limits.histfactory_minimiser import CONVERGED, minimise_toys
from darksieve.evaluation.limits.toy_limits import Toys
from darksieve.evaluation.limits.workspace import Workspace

Floats = NDArray[np.float64]


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
