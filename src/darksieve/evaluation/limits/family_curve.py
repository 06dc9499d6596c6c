"""Profiled likelihoods of one background family for many points at once, and where they cross a value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from darksieve.evaluation.limits.engine import CONVERGED, fit
from darksieve.evaluation.limits.minuit import FitError, MinuitProblem
from darksieve.evaluation.limits.problem import Floats, Integers, ProblemBatch

PRECISION = 1e-6  # of roots, relative
MAX_STEPS = 60
LEAP = 10.0  # of 2NLL between two fits of the same problem


def n_background_parameters(batch: ProblemBatch) -> Integers:
    """Free parameters of each problem's backgrounds, shape (n_problems,)."""
    structure = batch.structure
    return np.asarray((structure.n_linear + 2 * structure.has_slope).sum(axis=1), np.int64)


class FamilyCurve:
    """2NLL + penalty of one family, for every problem of a batch, profiled at a fixed or free strength.

    Fits start where the last one of the same problem ended; those that fail start anew, then go to iminuit.

    Args:
        batch: The problems with one family; not blind.
        penalty: Per free parameter.
        threads: At most so many.
    """

    def __init__(self, batch: ProblemBatch, penalty: float, threads: int | None = None) -> None:
        self.batch, self.threads = batch, threads
        self.penalty = penalty * n_background_parameters(batch)
        self.parameters = np.array(batch.structure.start)
        self.edm = np.zeros(batch.n_problems)
        self.by_minuit = np.zeros(batch.n_problems, np.bool_)
        self._last = np.full(batch.n_problems, np.inf)

    def minimum(self, problems: Integers, strength: Floats | None = None) -> tuple[Floats, Floats]:
        """2NLL + penalty and fitted strength; NaN where no fit succeeds.

        Args:
            problems: Which problems.
            strength: Fixed, one per problem; None fits it.
        """
        if not problems.size:
            return np.zeros(0), np.zeros(0)
        value, mu = np.full(problems.size, np.inf), np.full(problems.size, np.nan)
        todo = np.arange(problems.size)
        for start in (self.parameters, self.batch.structure.start):
            which = problems[todo]
            many = self.batch.subset(which)
            many.structure.start[...] = start[which]
            found = fit(many, None if strength is None else strength[todo], threads=self.threads)
            new = 2 * found.nll + self.penalty[which]
            good = np.array([status == CONVERGED for status in found.status]) & (new < value[todo])
            done = todo[good]
            value[done], mu[done] = new[good], found.strength[good]
            self.parameters[problems[done]] = np.nan_to_num(found.parameters[good])
            self.edm[problems[done]] = found.edm[good]
            # after a leap the fit may sit in another valley (a slope at its bound): try from afar, too
            todo = todo[~(value[todo] < self._last[which] + LEAP)]
            if not todo.size:
                break
        self._last[problems] = value
        value[np.isinf(value)] = np.nan
        for k in np.flatnonzero(np.isnan(value)):
            p = int(problems[k])
            unit = self.batch.events_per_unit[p]
            problem = MinuitProblem(self.batch, p, self.batch.observed)
            try:
                nll, x, self.edm[p] = problem.fit(
                    self.parameters[p], None if strength is None else float(strength[k] * unit)
                )
            except FitError:
                continue
            self.by_minuit[p] = True
            self.parameters[p, : x.size] = x
            value[k], mu[k] = 2 * nll + self.penalty[p], x[problem.strength] / unit
            self._last[p] = value[k]
        return value, mu

    def where_it_reaches(
        self, target: Floats, lowest: Floats, strength: Floats, sign: float, step: Floats
    ) -> Floats:
        """Strength on one side of the curve's minimum where it reaches a value, by secants in its root.

        Args:
            target: Shape (n_problems,); where it is below the minimum the answer is minus ``sign`` times
                infinity (no strength on that side is so near).
            lowest: The curve's minimum, same shape.
            strength: Where it is, same shape.
            sign: 1 above the minimum, −1 below.
            step: First guess of the distance, same shape, > 0.

        Returns:
            Strengths, NaN where a fit fails or the curve does not rise so far.
        """
        root = np.sqrt(np.maximum(target - lowest, 0.0))
        near, near_value = np.zeros(root.size), np.zeros(root.size)
        far, far_value = np.full(root.size, np.inf), np.full(root.size, np.inf)
        distance = np.array(step)
        distance[root == 0] = 0.0
        active = np.flatnonzero((target > lowest) & np.isfinite(target))
        result = np.where(target < lowest, -sign * np.inf, np.nan)
        result[target == lowest] = strength[target == lowest]
        for _ in range(MAX_STEPS):
            if not active.size:
                break
            value, _ = self.minimum(active, strength[active] + sign * distance[active])
            height = np.sqrt(np.maximum(value - lowest[active], 0.0))
            short = height < root[active]
            near[active[short]], near_value[active[short]] = distance[active[short]], height[short]
            far[active[~short]], far_value[active[~short]] = distance[active[~short]], height[~short]
            a, b, low, high = near[active], far[active], near_value[active], far_value[active]
            with np.errstate(all="ignore"):
                new = np.where(
                    np.isfinite(b),
                    a + (root[active] - low) * (b - a) / (high - low),
                    np.where(height > 0, distance[active] * root[active] / height, 3 * distance[active]),
                )
                inside = np.where(np.isfinite(b), (new > a) & (new < b), new > a)
                new = np.where(inside, new, np.where(np.isfinite(b), 0.5 * (a + b), 3 * a))
            new = np.minimum(new, 5 * distance[active])
            close = np.abs(new - distance[active]) <= PRECISION * new
            # secants that come from one side only: the other end of the bracket moves in
            slow = np.isfinite(b) & ~close & (np.abs(height - root[active]) > 0.3 * (high - low))
            new = np.where(slow, 0.5 * (a + b), new)
            distance[active] = new
            done = active[close]
            result[done] = strength[done] + sign * distance[done]
            active = active[~close & np.isfinite(height) & (new < 1e12 * step[active])]
        return result


def falling_root(
    function: Callable[[Integers, Floats], Floats], problems: Integers, low: Floats, step: Floats
) -> Floats:
    """Where functions of x that are positive at ``low`` and fall cross zero, many at once.

    Args:
        function: Of positions of problems and one x for each; values, NaN where there is none.
        problems: Passed to the function.
        low: Lower ends, same shape.
        step: First guesses of the distance, same shape, > 0.

    Returns:
        Roots to a relative precision of 1e-6, NaN where none is found.
    """
    a, b = np.array(low), np.full(low.size, np.inf)
    f_a, f_b = np.full(low.size, np.nan), np.full(low.size, np.nan)
    x = low + step
    result = np.full(low.size, np.nan)
    side = np.zeros(low.size)
    active = np.arange(low.size)
    for _ in range(MAX_STEPS):
        if not active.size:
            break
        f = function(problems[active], x[active])
        up = f > 0
        for which, ends, values, other, sign in ((up, a, f_a, f_b, 1.0), (f <= 0, b, f_b, f_a, -1.0)):
            i = active[which]
            ends[i], values[i] = x[i], f[which]
            again = side[i] == sign
            other[i[again]] *= 0.5  # Illinois: the end that stays counts less
            side[i] = sign
        known = np.isfinite(f_a[active]) & np.isfinite(f_b[active])
        i = active
        with np.errstate(all="ignore"):
            secant = (a[i] * f_b[i] - b[i] * f_a[i]) / (f_b[i] - f_a[i])
        open_end = ~np.isfinite(b[i])
        new = np.where(known, secant, 0.5 * (a[i] + np.where(open_end, 0.0, b[i])))
        new = np.where(open_end, x[i] + 1.5 * (x[i] - low[i]), new)
        done = ~open_end & (
            (np.abs(new - x[i]) <= PRECISION * np.abs(new)) | (b[i] - a[i] <= PRECISION * b[i])
        )
        result[i[done]] = new[done]
        x[i] = new
        active = active[~done & np.isfinite(f) & (new < low[i] + 1e12 * step[i])]
    return result
