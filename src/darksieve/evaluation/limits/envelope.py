"""Discrete profiling of the background: limits from the envelope of several families and orders.

The likelihood of a point with a list of backgrounds is Λ(μ) = min over families of [2NLL(μ) + penalty ·
number of the family's free parameters]: the family is one more nuisance, with whole numbers for values. A
penalty of one per parameter is what a further parameter gains by fitting noise (the p-value correction of the
paper), two is Akaike's. Every family has its own smooth curve, and the envelope's outermost crossing is the
outermost of theirs: roots are sought curve by curve, for all points at once.

References:
    P. D. Dauncey, M. Kenzie, N. Wardle, G. J. Davies, JINST 10 (2015) P04015, arXiv:1408.6865.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from darksieve.errors import InputError
from darksieve.evaluation.limits.asimov import band_levels, limit_significance
from darksieve.evaluation.limits.compile import compile_search, estimate_rows, fitted_points
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import (
    BY_MINUIT,
    CONVERGED,
    FAILED,
    MAX_ROWS,
    LimitArrays,
)
from darksieve.evaluation.limits.family_curve import FamilyCurve, falling_root
from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.problem import Floats, Integers, ProblemBatch

PENALTY = 1.0  # per free parameter, in units of 2NLL
MAX_COMBINATIONS = 256  # of the families of a point's channels


@dataclass(frozen=True, eq=False)
class EnvelopeLimits:
    """Limits of points whose backgrounds were profiled over a list.

    Attributes:
        limits: As from the engine; the Asimov set is the background alone of
            ``families_without_signal``, and its test statistic is the envelope, too.
        families: Family of the best fit (blind: the first of the list), one per point.
        families_without_signal: Best family without signal, that of the Asimov set (blind: the first).
        choices: Of the best fit (blind: the first), by the channel's name, for ``compile_search``.
    """

    limits: LimitArrays
    families: tuple[str, ...]
    families_without_signal: tuple[str, ...]
    choices: tuple[dict[str, int], ...]


def has_choice(model: SearchModel, point: int) -> bool:
    """Whether a channel of the point has several backgrounds."""
    return any(n > 1 for n in _n_options(model, point))


def _n_options(model: SearchModel, point: int) -> tuple[int, ...]:
    of_point = model.points[point]
    return tuple(
        len(model.background_of(of_point, channel.name)) if channel.name in of_point.channels else 1
        for channel in model.channels
    )


def combinations(model: SearchModel, point: int) -> list[dict[str, int]]:
    """Every choice of one background per channel.

    Raises:
        InputError: If there are more than ``MAX_COMBINATIONS``.
    """
    options = _n_options(model, point)
    if math.prod(options) > MAX_COMBINATIONS:
        raise InputError(
            f"point {model.points[point].label!r}: {math.prod(options)} combinations of its channels' "
            f"backgrounds, but at most {MAX_COMBINATIONS} are profiled; shorten the lists"
        )
    names = [channel.name for channel in model.channels]
    return [dict(zip(names, choice, strict=True)) for choice in itertools.product(*map(range, options))]


def family_name(model: SearchModel, point: int, choice: dict[str, int]) -> str:
    """Families of the channels that have a choice, such as ``c1: chebyshev 2, c2: exponential``."""
    of_point = model.points[point]
    names = []
    for channel in of_point.channels:
        options = model.background_of(of_point, channel)
        if len(options) == 1:
            continue
        labels = [f"{b.family} {getattr(b, 'order', '')}".strip() for b in options]
        label = labels[choice.get(channel, 0)]
        if any(
            a.family == b.family and a != b and labels[i] == labels[k] == label
            for i, a in enumerate(options)
            for k, b in enumerate(options)
        ):
            label += f" (number {choice.get(channel, 0) + 1})"
        names.append(f"{channel}: {label}")
    return ", ".join(names)


def envelope_limits(
    model: SearchModel,
    *,
    points: Sequence[int] | None = None,
    penalty: float = PENALTY,
    unbinned: bool = True,
    morphing: Literal["quadratic", "linear"] = "quadratic",
    confidence_level: float = 0.95,
    test_statistic: Literal["qtilde", "q"] = "qtilde",
    bands: Literal["sigma", "quantile"] = "sigma",
    cls_at: float | None = None,
    threads: int | None = None,
) -> EnvelopeLimits:
    """Best fits, p-values and asymptotic CLs limits with the background's family profiled.

    Args:
        points: Positions in ``model.points``; None for all that can be fitted.
        penalty: Per free parameter of a family, in units of 2NLL.
        unbinned: As for ``limits_of_search``; so are the others.

    Raises:
        InputError: If a point cannot be fitted, or has too many combinations.
        ValueError: If an option has no such value.
    """
    if test_statistic not in ("qtilde", "q"):
        raise ValueError(f"test statistic {test_statistic!r}: choose 'qtilde' or 'q'")
    chosen = fitted_points(model) if points is None else [int(i) for i in points]
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in chosen:
        groups.setdefault(_n_options(model, i), []).append(i)
    parts: list[LimitArrays] = []
    order: list[int] = []
    at_best: list[dict[str, int]] = []
    without_signal: list[dict[str, int]] = []
    levels = np.array(band_levels(bands))
    for group in groups.values():
        choices = combinations(model, group[0])
        sizes = estimate_rows(model, group, unbinned=unbinned) * len(choices)
        begin = 0
        while begin < len(group):
            fits = int(np.searchsorted(np.cumsum(sizes[begin:]), MAX_ROWS, "right"))
            part = group[begin : begin + max(fits, 1)]
            begin += len(part)
            batches = [
                compile_search(
                    model, points=part, choice=choice, unbinned=unbinned, morphing=morphing, threads=threads
                )
                for choice in choices
            ]
            tilde = test_statistic == "qtilde"
            envelope = _Envelope(batches, penalty, levels, confidence_level, tilde, threads)
            limits, best, zero = envelope.solve(math.nan if cls_at is None else cls_at)
            parts.append(limits)
            order += part
            at_best += [choices[k] for k in best]
            without_signal += [choices[k] for k in zero]
    if not parts:
        raise ValueError("no point to fit")
    index = [order.index(i) for i in chosen]
    return EnvelopeLimits(
        take(LimitArrays.join(parts), index),
        tuple(family_name(model, order[k], at_best[k]) for k in index),
        tuple(family_name(model, order[k], without_signal[k]) for k in index),
        tuple(at_best[k] for k in index),
    )


def take(arrays: LimitArrays, index: Sequence[int]) -> LimitArrays:
    """The answers of some problems, in the order of the index."""
    values = {}
    for field in fields(arrays):
        value = getattr(arrays, field.name)
        if field.name == "levels":
            values[field.name] = value
        elif isinstance(value, tuple):
            values[field.name] = tuple(value[i] for i in index)
        else:
            values[field.name] = value[np.asarray(index, np.int64)]
    return LimitArrays(**values)


class _Envelope:
    """All families of the same problems, with data and with the Asimov set."""

    def __init__(
        self,
        batches: Sequence[ProblemBatch],
        penalty: float,
        levels: Floats,
        confidence_level: float,
        tilde: bool,
        threads: int | None,
    ) -> None:
        self.batches, self.penalty, self.threads = batches, penalty, threads
        self.levels, self.tilde = levels, tilde
        self.log_alpha = math.log1p(-confidence_level)
        self.targets = np.asarray(limit_significance(confidence_level, levels))
        self.n = batches[0].n_problems
        self.all = np.arange(self.n)
        self.data = None if batches[0].blind else [FamilyCurve(b, penalty, threads) for b in batches]
        self.asimov: list[FamilyCurve] = []
        self.reference = np.full(self.n, np.nan)
        self.reference_asimov = np.full(self.n, np.nan)

    def _over_families(self, curves: Sequence[FamilyCurve], problems: Integers, strength: Floats) -> Floats:
        values = np.array([curve.minimum(problems, strength)[0] for curve in curves])
        return np.asarray(np.where(np.isnan(values).any(axis=0), np.nan, values.min(axis=0)))

    def _log_cls(self, value: Floats, problems: Integers, strength: Floats) -> Floats:
        # of a 2NLL + penalty of the data
        asimov = self._over_families(self.asimov, problems, strength)
        q_a = np.maximum(asimov - self.reference_asimov[problems], 1e-12)
        q = np.maximum(value - self.reference[problems], 0.0)
        root, root_a = np.sqrt(q), np.sqrt(q_a)
        beyond = self.tilde & (q > q_a)
        upper = np.where(beyond, 0.5 * (q + q_a) / root_a, root)
        lower = np.where(beyond, 0.5 * (q - q_a) / root_a, root - root_a)
        return np.asarray(log_ndtr(-upper) - log_ndtr(-lower))

    def _make_asimov(self, family: Integers, parameters: Sequence[Floats]) -> None:
        bins = self.batches[0].rows
        counts = np.array(bins.counts)
        nuisances = np.zeros((self.n, self.batches[0].n_nuisances))
        for p in range(self.n):
            batch = self.batches[family[p]]
            problem = MinuitProblem(batch, p, batch.rows)
            x = np.array(parameters[family[p]][p, : problem.n])
            x[problem.strength] = 0.0
            counts[bins.start[p, 0] : bins.start[p, -1]] = problem.expectation(x)
            nuisances[p] = x[problem.strength + 1 :]
        for k, batch in enumerate(self.batches):
            start = np.array(parameters[k])
            start[self.all, [batch.strength_index(p) for p in range(self.n)]] = 0.0
            structure = batch.structure._replace(auxiliary=np.array(nuisances), start=start)
            rows = batch.rows._replace(counts=counts)
            made = replace(batch, rows=rows, structure=structure, events=None, blind=False)
            self.asimov.append(FamilyCurve(made, self.penalty, self.threads))

    def solve(self, at: float) -> tuple[LimitArrays, Integers, Integers]:
        """All answers, and which family has the best fit and fits best without signal.

        Args:
            at: Strength for CLs, NaN for none.
        """
        n, every = self.n, self.all
        blank = np.full(n, np.nan)
        best, significance, observed, cls_observed = blank.copy(), blank.copy(), blank.copy(), blank.copy()
        errors = np.full((n, 2), np.nan)
        edm = np.zeros(n)
        family, at_best = np.zeros(n, np.int64), np.zeros(n, np.int64)
        failed = np.zeros(n, np.bool_)
        lowest = strengths = np.zeros((0, n))
        if self.data is not None:
            at_zero = np.array([curve.minimum(every, np.zeros(n))[0] for curve in self.data])
            background = [np.array(curve.parameters) for curve in self.data]
            edm = np.max([curve.edm for curve in self.data], axis=0)
            free = [curve.minimum(every) for curve in self.data]
            edm = np.maximum(edm, np.max([curve.edm for curve in self.data], axis=0))
            lowest, strengths = np.array([x[0] for x in free]), np.array([x[1] for x in free])
            failed = np.isnan(at_zero).any(axis=0) | np.isnan(lowest).any(axis=0)
            lowest, at_zero = np.nan_to_num(lowest, nan=np.inf), np.nan_to_num(at_zero, nan=np.inf)
            better = at_zero < lowest  # to rounding, where the best fit is at zero
            lowest, strengths = np.where(better, at_zero, lowest), np.where(better, 0.0, strengths)
            family, at_best = at_zero.argmin(axis=0), lowest.argmin(axis=0)
            least, zero = lowest[at_best, every], at_zero[family, every]
            best = strengths[at_best, every]
            gain = np.sqrt(np.maximum(zero - least, 0.0))
            significance = np.where(best > 0, gain, -gain)
            self.reference = np.where(self.tilde & (best < 0), zero, least)
        else:
            background = [np.array(batch.structure.start) for batch in self.batches]
        self._make_asimov(family, background)
        expected, asimov_failed = self._expected()
        failed |= asimov_failed
        median = expected[:, self.levels.size // 2]
        width = np.where(np.isfinite(median), median, 1.0) / self.targets[self.levels.size // 2]
        cls_expected = np.full((n, self.levels.size), np.nan)
        if not math.isnan(at):
            q_a = self._over_families(self.asimov, every, np.full(n, at)) - self.reference_asimov
            root = np.sqrt(np.maximum(q_a, 0.0))[:, None]
            cls_expected = ndtr(self.levels - root) / ndtr(self.levels)
        if self.data is not None:
            errors = self._errors(lowest, strengths, least, best, width)
            observed = self._observed(lowest, strengths, best, median, failed)
            if not math.isnan(at):
                value = self._over_families(self.data, every, np.full(n, at))
                value = np.where(at <= best, self.reference, value)
                cls_observed = np.exp(self._log_cls(value, every, np.full(n, at)))
                failed |= np.isnan(cls_observed)
            failed |= np.isnan(observed)
        near_peak = np.empty(n)
        bins = self.asimov[0].batch.rows
        for p in every:
            part = slice(bins.start[p, 0], bins.start[p, -1])
            near_peak[p] = bins.counts[part] @ bins.near_peak[part]
        by_minuit = np.any([c.by_minuit for c in (self.data or []) + self.asimov], axis=0)
        status = np.where(failed, FAILED, np.where(by_minuit, BY_MINUIT, CONVERGED))
        for array in (best, significance, observed, errors, expected, cls_observed, cls_expected):
            array[failed] = np.nan
        first = self.batches[0]
        limits = LimitArrays(
            labels=first.labels,
            masses=first.masses,
            levels=self.levels,
            observed=observed,
            expected=expected,
            best_fit=best,
            best_fit_error=errors,
            p0=np.asarray(ndtr(-significance)),
            significance=significance,
            cls_observed=cls_observed,
            cls_expected=cls_expected,
            background_near_peak=near_peak,
            status=tuple(status.tolist()),
            edm=edm,
        )
        return limits, at_best, family

    def _expected(self) -> tuple[Floats, NDArray[np.bool_]]:
        n, every = self.n, self.all
        zero = np.array([curve.minimum(every, np.zeros(n))[0] for curve in self.asimov])
        free = [curve.minimum(every) for curve in self.asimov]
        lowest, strength = np.array([x[0] for x in free]), np.array([x[1] for x in free])
        failed = np.isnan(zero).any(axis=0) | np.isnan(lowest).any(axis=0)
        lowest = np.minimum(lowest, zero)
        self.reference_asimov = zero.min(axis=0)
        # the width of each family's curve, from a step that its scale sets
        step = np.sqrt([max(float(c.batch.rows.counts.sum()) / n, 1.0) for c in self.asimov])
        step = step[:, None] / self.asimov[0].batch.events_per_unit
        expected = np.full((n, self.levels.size), -np.inf)
        for k, curve in enumerate(self.asimov):
            guess = 0.3 * step[k]
            for i, target in enumerate(self.targets):
                root = curve.where_it_reaches(
                    self.reference_asimov + target**2, lowest[k], strength[k], 1.0, guess
                )
                failed |= np.isnan(root)
                expected[:, i] = np.fmax(expected[:, i], root)
                distance = root - strength[k]
                ahead = self.targets[min(i + 1, self.targets.size - 1)] / target
                guess = np.where(np.isfinite(distance) & (distance > 0), distance * ahead, guess)
        expected[failed] = np.nan
        return expected, failed

    def _errors(
        self, lowest: Floats, strengths: Floats, least: Floats, best: Floats, width: Floats
    ) -> Floats:
        # the hull of where Λ is within 1 of its minimum
        assert self.data is not None
        ends = np.stack([np.full(self.n, np.inf), np.full(self.n, -np.inf)], axis=1)
        for k, curve in enumerate(self.data):
            for side, sign in enumerate((-1.0, 1.0)):
                root = curve.where_it_reaches(least + 1.0, lowest[k], strengths[k], sign, width)
                missing = np.isnan(root) & (lowest[k] < least + 1.0)
                choose = np.fmin if sign < 0 else np.fmax
                ends[:, side] = np.where(missing, np.nan, choose(ends[:, side], root))
        return np.asarray(ends - best[:, None])

    def _observed(
        self, lowest: Floats, strengths: Floats, best: Floats, median: Floats, failed: NDArray[np.bool_]
    ) -> Floats:
        """Where ln CLs of the envelope falls through ln α for good."""
        assert self.data is not None
        curves = self.data
        begin = np.maximum(best, 0.0)
        for k in range(len(curves)):
            # beyond the best fit of a family that is not excluded there, the envelope may still dip
            later = np.flatnonzero((strengths[k] > begin) & ~failed)
            if later.size:
                log_cls = self._log_cls(lowest[k, later], later, strengths[k, later])
                begin[later] = np.where(log_cls > self.log_alpha, strengths[k, later], begin[later])

        def excess(problems: Integers, strength: Floats) -> Floats:
            value = self._over_families(curves, problems, strength)
            value = np.where(strength <= best[problems], self.reference[problems], value)
            return self._log_cls(value, problems, strength) - self.log_alpha

        usable = np.flatnonzero(~failed & np.isfinite(median))
        result = np.full(self.n, np.nan)
        result[usable] = falling_root(excess, usable, begin[usable], median[usable])
        return result
