"""Toys of one point of a search document, in the form that ``toy_limits`` asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import fit
from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.problem import Floats, ProblemBatch
from darksieve.evaluation.limits.toy_limits import Toys

BINS_PER_SIGMA = 12.0  # of data given as values; limits from toys have larger errors than such bins make
TOLERANCE = 1e-5  # of −ln L in a toy
MOST_NUMBERS = 2_000_000  # counts held at once


class SearchToys:
    """Throws toys at strengths of one point, with nuisances profiled and their constraints sampled.

    Toys are thrown at the parameters that fit the data best at each strength, or, blind, at the nominal ones.

    Args:
        model: The document, with data or blind.
        point: Position of the point in the document.
        seed: Of the streams; the numbers do not depend on the order of what is asked.
        test_statistic: ``qtilde`` or ``q``.
        threads: At most so many.
        choice: Which of several backgrounds the channels take (``EnvelopeToys`` profiles them).
    """

    def __init__(
        self,
        model: SearchModel,
        point: int,
        *,
        seed: np.random.SeedSequence,
        test_statistic: Literal["qtilde", "q"] = "qtilde",
        threads: int | None = None,
        choice: Mapping[str, int] | int = 0,
    ) -> None:
        self.batch = compile_search(
            model, points=[point], choice=choice, unbinned=False, bins_per_sigma=BINS_PER_SIGMA
        )
        self.seed, self.tilde, self.threads = seed, test_statistic == "qtilde", threads
        self.problem = MinuitProblem(self.batch, 0, self.batch.rows)
        self.nuisances = slice(self.problem.strength + 1, self.problem.n)
        self._parameters: dict[float, Floats] = {}
        self._without: dict[tuple[int, int], tuple[Floats, Floats, Floats, Floats]] = {}

    def parameters(self, strength: float) -> Floats:
        """Where toys of a strength are thrown, shape (n_parameters,)."""
        if strength not in self._parameters:
            if self.batch.blind:
                x = np.array(self.batch.structure.start[0, : self.problem.n])
            else:
                x = np.array(fit(self.batch, strength, threads=1).parameters[0, : self.problem.n])
            x[self.problem.strength] = strength * self.batch.events_per_unit[0]
            self._parameters[strength] = x
        return self._parameters[strength]

    def pulls(self, strength: float) -> Floats:
        """The nuisances there, shape (n_nuisances,)."""
        return self.parameters(strength)[self.nuisances]

    def expectation(self, strength: float) -> Floats:
        """Expected counts of the rows, shape (n_rows,)."""
        return np.maximum(self.problem.expectation(self.parameters(strength)), 0.0)

    def throw(self, strength: float, n_toys: int, *stream: int) -> tuple[Floats, Floats]:
        """Counts, shape (n_toys, n_rows), and measured nuisances, shape (n_toys, n_nuisances)."""
        key = (*self.seed.spawn_key, *stream)
        generator = np.random.default_rng(np.random.SeedSequence(self.seed.entropy, spawn_key=key))
        rates = self.expectation(strength)
        counts = generator.poisson(rates, (n_toys, rates.size)).astype(np.float64)
        theta = self.pulls(strength)
        return counts, generator.normal(theta, 1.0, (n_toys, theta.size))

    def _minima(
        self, counts: Floats, auxiliary: Floats, strength: float | None, near: float, bounded: bool
    ) -> tuple[Floats, Floats]:
        # −ln L and fitted strength of every toy, in portions; the fits start at the parameters of ``near``
        start = self.parameters(near)
        values, fitted = np.empty(len(counts)), np.empty(len(counts))
        portion = max(1, MOST_NUMBERS // max(counts.shape[1], 1))
        for begin in range(0, len(counts), portion):
            part = slice(begin, begin + portion)
            many = toy_batch(self.batch, counts[part], auxiliary[part], start)
            if bounded:
                many.structure.lower[:, self.problem.strength] = 0.0
            found = fit(many, strength, threads=self.threads, tolerance=TOLERANCE)
            good = np.array([status != "failed" for status in found.status])
            values[part] = np.where(good, found.nll, np.nan)
            fitted[part] = found.strength
        return values, fitted

    def _background(self, n_toys: int, chunk: int) -> tuple[Floats, Floats, Floats, Floats]:
        if (n_toys, chunk) not in self._without:
            counts, auxiliary = self.throw(0.0, n_toys, 0, chunk)
            best = self._minima(counts, auxiliary, None, 0.0, self.tilde)
            self._without[n_toys, chunk] = (counts, auxiliary, *best)
        return self._without[n_toys, chunk]

    def _q(self, strength: float, counts: Floats, auxiliary: Floats, best: Floats, fitted: Floats) -> Floats:
        at, _ = self._minima(counts, auxiliary, strength, strength, False)
        return np.where(fitted > strength, 0.0, np.maximum(2 * (at - best), 0.0))

    def q_observed(self, strength: float) -> float | None:
        """Test statistic of the data, None while blind."""
        if self.batch.blind:
            return None
        counts = self.batch.rows.counts[None, :]
        auxiliary = self.batch.structure.auxiliary[:1]
        best, fitted = self._minima(counts, auxiliary, None, 0.0, self.tilde)
        return float(self._q(strength, counts, auxiliary, best, fitted)[0])

    def test_statistics(self, strength: float, n_toys: int, chunk: int = 0) -> Toys:
        """Toys with and without signal; those whose fit fails are left out."""
        counts, auxiliary, best, fitted = self._background(n_toys, chunk)
        without = self._q(strength, counts, auxiliary, best, fitted)
        rates, nominal = self.expectation(strength), self.expectation(0.0)
        theta, theta_zero = self.pulls(strength), self.pulls(0.0)
        with np.errstate(divide="ignore"):
            ratio = np.log(np.maximum(rates, 1e-300)) - np.log(np.maximum(nominal, 1e-300))
        log_weight = counts @ ratio - (rates - nominal).sum()
        log_weight += 0.5 * ((auxiliary - theta_zero) ** 2 - (auxiliary - theta) ** 2).sum(axis=1)
        stream = 1 + int(np.float64(strength).view(np.uint64)) % (2**62)
        counts, auxiliary = self.throw(strength, n_toys, stream, chunk)
        best, fitted = self._minima(counts, auxiliary, None, strength, self.tilde)
        with_signal = self._q(strength, counts, auxiliary, best, fitted)
        good = np.isfinite(without)
        return Toys(
            self.q_observed(strength),
            with_signal[np.isfinite(with_signal)],
            without[good],
            np.exp(np.minimum(log_weight[good], 700.0)),
        )

    def discovery_statistics(self, n_toys: int) -> tuple[float, Floats]:
        """√q0 observed and of toys without signal, zero where the best fit is not positive.

        Raises:
            ValueError: If the document is blind.
        """
        if self.batch.blind:
            raise ValueError("a blind point has no excess")
        counts, auxiliary, best, fitted = self._background(n_toys, 0)
        if not self.tilde:
            best, fitted = self._minima(counts, auxiliary, None, 0.0, True)
        at_zero, _ = self._minima(counts, auxiliary, 0.0, 0.0, False)
        root = np.where(fitted > 0, np.sqrt(np.maximum(2 * (at_zero - best), 0.0)), 0.0)
        data = (self.batch.rows.counts[None, :], self.batch.structure.auxiliary[:1])
        best, fitted = self._minima(*data, None, 0.0, True)
        at_zero, _ = self._minima(*data, 0.0, 0.0, False)
        observed = math.sqrt(max(2 * float(at_zero[0] - best[0]), 0.0)) if fitted[0] > 0 else 0.0
        return observed, root[np.isfinite(root)]


def toy_batch(batch: ProblemBatch, counts: Floats, auxiliary: Floats, start: Floats) -> ProblemBatch:
    """One problem per toy: templates are shared, counts and measured nuisances are its own."""
    n_toys, n_rows = counts.shape
    rows = batch.rows
    many = batch.subset(np.zeros(n_toys, np.int64))
    first = int(rows.start[0, 0])
    offset = np.arange(n_toys, dtype=np.int64)[:, None] * n_rows
    per_row = {
        name: np.tile(getattr(rows, name)[first : first + n_rows], n_toys)
        for name in ("exposure", "slope_position", "slope_width", "slope_scale")
        if getattr(rows, name).size
    }
    new = many.rows._replace(
        start=np.ascontiguousarray(rows.start - first + offset),
        counts=np.ascontiguousarray(counts.ravel()),
        **per_row,
    )
    starts = np.array(many.structure.start)
    starts[:, : start.size] = start
    structure = many.structure._replace(auxiliary=np.ascontiguousarray(auxiliary), start=starts)
    return replace(many, rows=new, events=None, structure=structure, blind=False)
