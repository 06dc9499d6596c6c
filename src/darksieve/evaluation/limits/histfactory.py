"""Fits of a HistFactory workspace: its likelihood with a data set, and what its rates say of the signal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.histfactory_kernel import (
    NORMAL,
    POISSON,
    expected_rates,
    negative_log_likelihood,
    value_and_gradient,
)
from darksieve.evaluation.limits.histfactory_minimiser import CONVERGED, minimise
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
