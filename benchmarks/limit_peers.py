"""Peers of the limit engine on one window: iminuit with a compiled likelihood and gradient, and pyhf."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr

from darksieve.evaluation.limits.problem import ProblemBatch

LEVELS = (-2.0, -1.0, 0.0, 1.0, 2.0)


@numba.njit(fastmath=True)
def _nll(x: NDArray, templates: NDArray, counts: NDArray, measured: NDArray, slope: float) -> float:
    # parameters: μ, width, scale, efficiency, then Bernstein coefficients; templates: S, D_w, D_s, P_k
    signal = x[0] * math.exp(slope * x[3])
    total = 0.0
    for r in range(counts.size):
        nu = signal * (templates[0, r] + x[1] * templates[1, r] + x[2] * templates[2, r])
        for k in range(templates.shape[0] - 3):
            nu += x[4 + k] * templates[3 + k, r]
        nu = max(nu, 1e-10)
        n = counts[r]
        total += nu - n
        if n > 0:
            total -= n * math.log(nu / n)
    for t in range(3):
        total += 0.5 * (x[1 + t] - measured[t]) ** 2
    return total


@numba.njit(fastmath=True)
def _gradient(x: NDArray, templates: NDArray, counts: NDArray, measured: NDArray, slope: float) -> NDArray:
    factor = math.exp(slope * x[3])
    gradient = np.zeros(x.size)
    for r in range(counts.size):
        shape = templates[0, r] + x[1] * templates[1, r] + x[2] * templates[2, r]
        nu = x[0] * factor * shape
        for k in range(templates.shape[0] - 3):
            nu += x[4 + k] * templates[3 + k, r]
        g = 1.0 - counts[r] / max(nu, 1e-10)
        gradient[0] += g * factor * shape
        gradient[1] += g * x[0] * factor * templates[1, r]
        gradient[2] += g * x[0] * factor * templates[2, r]
        gradient[3] += g * x[0] * factor * shape * slope
        for k in range(templates.shape[0] - 3):
            gradient[4 + k] += g * templates[3 + k, r]
    for t in range(3):
        gradient[1 + t] += x[1 + t] - measured[t]
    return gradient


class IminuitLimits:
    """Observed and five expected limits of one window with MIGRAD and a bracketing root finder."""

    def __init__(self, templates: NDArray, counts: NDArray) -> None:
        self.templates, self.counts = templates, counts
        self.n = 4 + templates.shape[0] - 3
        self.slope = math.log(1.08)

    def fit(
        self, counts: NDArray, measured: NDArray, start: NDArray, mu: float | None
    ) -> tuple[float, NDArray]:
        from iminuit import Minuit

        x = start.copy()
        if mu is not None:
            x[0] = mu
        minuit = Minuit(
            lambda y: _nll(y, self.templates, counts, measured, self.slope),
            x,
            grad=lambda y: _gradient(y, self.templates, counts, measured, self.slope),
        )
        minuit.errordef = Minuit.LIKELIHOOD
        minuit.errors[0] = math.sqrt(counts.sum())  # sensible steps: its defaults stop far from the minimum
        for k in range(1, 4):
            minuit.errors[k] = 1.0
        for k in range(4, self.n):
            minuit.limits[k] = (0, None)
            minuit.errors[k] = math.sqrt(counts.sum() / (self.n - 4))
        minuit.fixed[0] = mu is not None
        minuit.migrad()
        if not minuit.valid:
            minuit.migrad()
        return float(minuit.fval), np.array(minuit.values)

    def expectation(self, x: NDArray) -> NDArray:
        return x[4:] @ self.templates[3:]

    def limits(self) -> tuple[float, list[float]]:
        nothing = np.zeros(3)
        start = np.concatenate([[0.0, 0.0, 0.0, 0.0], np.full(self.n - 4, self.counts.sum() / (self.n - 4))])
        nll_zero, zero = self.fit(self.counts, nothing, start, 0.0)
        nll_best, best = self.fit(self.counts, nothing, zero, None)
        reference = nll_zero if best[0] < 0 else nll_best
        asimov, measured = self.expectation(zero), zero[1:4].copy()

        def root_a(mu: float) -> float:
            return math.sqrt(max(2 * self.fit(asimov, measured, zero, mu)[0], 1e-12))

        def log_cls(mu: float) -> float:
            a = root_a(mu)
            q = (
                0.0
                if mu < best[0]
                else max(2 * (self.fit(self.counts, nothing, best, mu)[0] - reference), 0.0)
            )
            if q > a * a:
                return float(log_ndtr(-(q + a * a) / (2 * a)) - log_ndtr(-(q - a * a) / (2 * a)))
            return float(log_ndtr(-math.sqrt(q)) - log_ndtr(a - math.sqrt(q)))

        from scipy.stats import norm

        scale = 10 / root_a(10.0)
        expected = []
        for level in LEVELS:
            goal = norm.isf(0.05 * norm.cdf(level)) + level
            guess = goal * scale
            expected.append(
                brentq(lambda mu, g=goal: root_a(mu) - g, 0.5 * guess, 1.7 * guess, rtol=1e-4)  # type: ignore[misc]
            )
        low, high = max(best[0], 0.1 * scale), max(best[0], 0.0) + 5 * scale
        return brentq(lambda mu: log_cls(mu) - math.log(0.05), low, high, rtol=1e-4), expected


def window_of(batch: ProblemBatch, p: int) -> tuple[NDArray, NDArray]:
    """Templates and counts of a one-channel problem with linear morphs."""
    begin, end = (int(i) for i in batch.rows.start[p])
    origin = int(batch.rows.column_start[p, 0])
    n_templates = 3 + int(batch.structure.n_linear[p, 0])
    columns = batch.rows.columns[origin : origin + n_templates * (end - begin)]
    return columns.reshape(n_templates, end - begin), batch.rows.counts[begin:end]


def pyhf_model(templates: NDArray, counts: NDArray, signal_scale: float) -> tuple[Any, list[float]]:
    """The same window as a HistFactory model: a free normfactor for each Bernstein polynomial."""
    import pyhf

    s, d_w, d_s = signal_scale * templates[:3]
    scale = counts.sum() / (templates.shape[0] - 3)
    modifiers: list[dict[str, Any]] = [
        {"name": "mu", "type": "normfactor", "data": None},
        {"name": "efficiency", "type": "normsys", "data": {"hi": 1.08, "lo": 1 / 1.08}},
    ]
    for name, d in (("width", d_w), ("scale", d_s)):
        data = {"hi_data": (s + d).tolist(), "lo_data": (s - d).tolist()}
        modifiers.append({"name": name, "type": "histosys", "data": data})
    samples: list[dict[str, Any]] = [{"name": "signal", "data": s.tolist(), "modifiers": modifiers}]
    parameters: list[dict[str, Any]] = [{"name": "mu", "bounds": [[0.0, 50.0]], "inits": [0.5]}]
    for k, row in enumerate(templates[3:]):
        factor = {"name": f"beta{k}", "type": "normfactor", "data": None}
        samples.append({"name": f"b{k}", "data": (scale * row).tolist(), "modifiers": [factor]})
        parameters.append({"name": f"beta{k}", "bounds": [[0.0, 20.0]], "inits": [1.0]})
    workspace = {
        "version": "1.0.0",
        "channels": [{"name": "c", "samples": samples}],
        "observations": [{"name": "c", "data": counts.tolist()}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}],
    }
    settings = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    model = pyhf.Workspace(workspace).model(modifier_settings=settings)
    return model, counts.tolist() + model.config.auxdata
