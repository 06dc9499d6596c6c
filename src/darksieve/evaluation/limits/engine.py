"""The front of the limit engine: fits, p-values and asymptotic CLs limits of a batch of problems.

References:
    A. L. Read, J. Phys. G 28 (2002) 2693 (CLs); G. Cowan et al., arXiv:1007.1727 (asymptotic formulae).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from darksieve.evaluation.limits import asymptotics
from darksieve.evaluation.limits.asimov import band_levels, limit_significance
from darksieve.evaluation.limits.compilation import run_in_threads
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.minuit import FitError, solve_by_minuit
from darksieve.evaluation.limits.problem import Floats, ProblemBatch

CONVERGED, BY_MINUIT, FAILED = "converged", "converged_by_minuit", "failed"
MAX_ROWS = 300_000  # compiled at once: some 30 MB of templates


@dataclass(frozen=True, eq=False)
class LimitArrays:
    """Answers for every problem of a batch, in units of the parameter; NaN where not asked for or failed.

    Attributes:
        labels: Of the problems.
        masses: GeV, NaN where unknown, shape (n_problems,).
        levels: Of the expected band, in standard deviations, shape (n_levels,).
        observed: Upper limits, shape (n_problems,); NaN while blind.
        expected: Upper limits at the levels, shape (n_problems, n_levels).
        best_fit: Unbounded below, as far as every expectation stays positive, shape (n_problems,).
        best_fit_error: Negative and positive error, where 2ΔNLL = 1, shape (n_problems, 2); NaN where the
            likelihood never rises so far.
        p0: Local p-value of the background alone; 0.5 or more where the best fit is not positive.
        significance: Φ⁻¹(1 − p0).
        cls_observed: CLs at the strength asked for, shape (n_problems,).
        cls_expected: The same at the levels, shape (n_problems, n_levels).
        background_near_peak: Expected background within ±2σ of the peak, from the fit without signal.
        status: ``converged``, ``converged_by_minuit`` or ``failed`` for each problem.
        edm: Largest estimated distance to the minimum of the fits to data, shape (n_problems,).
    """

    labels: tuple[str, ...]
    masses: Floats
    levels: Floats
    observed: Floats
    expected: Floats
    best_fit: Floats
    best_fit_error: Floats
    p0: Floats
    significance: Floats
    cls_observed: Floats
    cls_expected: Floats
    background_near_peak: Floats
    status: tuple[str, ...]
    edm: Floats

    @classmethod
    def join(cls, parts: list[LimitArrays]) -> LimitArrays:
        """Several batches one after another."""
        if not parts:
            raise ValueError("nothing to join")
        values = {}
        for field in fields(cls):
            pieces = [getattr(part, field.name) for part in parts]
            if field.name == "levels":
                values[field.name] = pieces[0]
            elif isinstance(pieces[0], tuple):
                values[field.name] = tuple(item for piece in pieces for item in piece)
            else:
                values[field.name] = np.concatenate(pieces)
        return cls(**values)


@dataclass(frozen=True, eq=False)
class FitArrays:
    """Fits of every problem of a batch to its data.

    Attributes:
        strength: Fitted or fixed parameter of interest, in its units, shape (n_problems,).
        nll: Negative log-likelihood in saturated form, shape (n_problems,).
        parameters: All parameters as the kernels order them (backgrounds, signal events, nuisances), NaN
            beyond a problem's own, shape (n_problems, n_parameters).
        status: ``converged`` or ``failed`` for each problem.
        edm: Estimated distance to the minimum, shape (n_problems,).
    """

    strength: Floats
    nll: Floats
    parameters: Floats
    status: tuple[str, ...]
    edm: Floats


def upper_limits(
    batch: ProblemBatch,
    *,
    confidence_level: float = 0.95,
    test_statistic: Literal["qtilde", "q"] = "qtilde",
    bands: Literal["sigma", "quantile", "median"] = "sigma",
    cls_at: ArrayLike | None = None,
    observed: bool = True,
    expected: bool = True,
    errors: bool = True,
    threads: int | None = None,
    tolerance: float = 1e-9,
    precision: float = 1e-5,
    minuit_fallback: bool = True,
) -> LimitArrays:
    """Best fits, p-values and asymptotic CLs limits of every problem.

    The Asimov set of the expected limits is the background fitted to the data; while blind, the nominal one.

    Args:
        cls_at: Strength, in units of the parameter, at which CLs is asked for: a number or one per problem.
        observed: Whether observed limits are asked for.
        expected: Whether expected limits are asked for (observed ones need them).
        errors: Whether errors of the best fit are asked for.
        threads: At most so many; the numbers do not depend on it. One runs in the calling thread.
        tolerance: Fits stop below this estimated distance to the minimum.
        precision: Relative, of the last Newton step of a limit.
        minuit_fallback: Whether problems that do not converge are repeated with iminuit.

    Raises:
        ValueError: If an option has no such value.
    """
    if test_statistic not in ("qtilde", "q"):
        raise ValueError(f"test statistic {test_statistic!r}: choose 'qtilde' or 'q'")
    levels = np.array(band_levels(bands))
    targets = limit_significance(confidence_level, levels)
    n = batch.n_problems
    at = np.full(n, np.nan) if cls_at is None else np.broadcast_to(np.asarray(cls_at, np.float64), (n,))
    at = np.ascontiguousarray(at * batch.events_per_unit)
    want = asymptotics.WANT_FIT | (asymptotics.WANT_ERRORS if errors else 0)
    want |= asymptotics.WANT_EXPECTED if expected or observed or cls_at is not None else 0
    want |= asymptotics.WANT_OBSERVED if observed and not batch.blind else 0
    alpha, tilde = 1.0 - confidence_level, test_statistic == "qtilde"
    numbers, _, failed = _solve(batch, want, levels, targets, alpha, tilde, at, precision, tolerance, threads)
    status = [CONVERGED] * n
    for p in np.flatnonzero(failed & ~asymptotics.ERROR_FAILED):
        numbers[p] = np.nan
        status[p] = FAILED
        if minuit_fallback:
            try:
                numbers[p] = solve_by_minuit(batch, int(p), want, levels, targets, alpha, tilde, float(at[p]))
                status[p] = BY_MINUIT
            except FitError:
                pass
    return _limit_arrays(batch, numbers, levels, tuple(status))


def fit(
    batch: ProblemBatch, mu: ArrayLike | None = None, *, threads: int | None = None, tolerance: float = 1e-9
) -> FitArrays:
    """Fit every problem to its data, with the signal strength free or fixed.

    Args:
        mu: Strength(s) in units of the parameter: a number or one per problem; None fits it.

    Raises:
        ValueError: If the batch is blind.
    """
    if batch.blind:
        raise ValueError("a blind batch has no data to fit")
    n = batch.n_problems
    fixed = np.full(n, np.nan) if mu is None else np.broadcast_to(np.asarray(mu, np.float64), (n,))
    fixed = np.ascontiguousarray(fixed * batch.events_per_unit)
    parameters = np.full(batch.structure.start.shape, np.nan)
    values = np.full((n, 2), np.nan)
    failed = np.zeros(n, np.int64)

    def run(begin: int, end: int) -> None:
        asymptotics.fit_all(
            batch.observed, batch.structure, fixed, tolerance, values, parameters, failed, begin, end
        )

    run_in_threads(run, n, threads)
    strength = np.array([parameters[p, batch.strength_index(p)] for p in range(n)]) / batch.events_per_unit
    status = tuple(FAILED if bad else CONVERGED for bad in failed)
    return FitArrays(strength, values[:, 0], parameters, status, values[:, 1])


def limits_of_search(
    model: SearchModel,
    *,
    points: NDArray[np.int64] | list[int] | None = None,
    choice: dict[str, int] | int = 0,
    unbinned: bool = True,
    morphing: Literal["quadratic", "linear"] = "quadratic",
    confidence_level: float = 0.95,
    test_statistic: Literal["qtilde", "q"] = "qtilde",
    bands: Literal["sigma", "quantile"] = "sigma",
    cls_at: float | None = None,
    errors: bool = True,
    threads: int | None = None,
    look: Callable[[ProblemBatch], None] | None = None,
) -> LimitArrays:
    """``upper_limits`` of a search document's points, compiled in portions so that memory stays bounded.

    Args:
        points: Positions in ``model.points``; None for all that can be fitted.
        choice: Which of several backgrounds the channels take.
        look: Called with every compiled portion, in order.

    Raises:
        InputError: If a point cannot be fitted.
    """
    from darksieve.evaluation.limits.compile import compile_search, estimate_rows, fitted_points

    chosen = fitted_points(model) if points is None else [int(i) for i in points]
    parts: list[LimitArrays] = []
    begin = 0
    sizes = np.cumsum(estimate_rows(model, chosen, unbinned=unbinned))
    while begin < len(chosen):
        done = sizes[begin - 1] if begin else 0
        end = max(int(np.searchsorted(sizes, done + MAX_ROWS, "right")), begin + 1)
        batch = compile_search(
            model,
            points=chosen[begin:end],
            choice=choice,
            unbinned=unbinned,
            morphing=morphing,
            threads=threads,
        )
        if look is not None:
            look(batch)
        parts.append(
            upper_limits(
                batch,
                confidence_level=confidence_level,
                test_statistic=test_statistic,
                bands=bands,
                cls_at=cls_at,
                errors=errors,
                threads=threads,
            )
        )
        begin = end
    return LimitArrays.join(parts)


def _solve(
    batch: ProblemBatch,
    want: int,
    levels: Floats,
    targets: Floats,
    alpha: float,
    tilde: bool,
    at: Floats,
    precision: float,
    tolerance: float,
    threads: int | None,
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    n = batch.n_problems
    numbers = np.empty((n, asymptotics.FIRST_LEVEL + 2 * levels.size))
    parameters = np.empty((n, 2, batch.structure.start.shape[1]))
    failed = np.zeros(n, np.int64)

    def run(begin: int, end: int) -> None:
        asymptotics.solve(
            batch.observed, batch.rows, batch.structure, batch.blind, want, levels, targets, alpha, tilde, at,
            precision, tolerance, numbers, parameters, failed, begin, end,
        )  # fmt: skip

    run_in_threads(run, n, threads)
    return numbers, parameters, failed


def _limit_arrays(
    batch: ProblemBatch, numbers: Floats, levels: Floats, status: tuple[str, ...]
) -> LimitArrays:
    k = asymptotics.FIRST_LEVEL
    unit = 1.0 / batch.events_per_unit
    significance = numbers[:, asymptotics.SIGNIFICANCE]
    return LimitArrays(
        labels=batch.labels,
        masses=batch.masses,
        levels=levels,
        observed=numbers[:, asymptotics.OBSERVED] * unit,
        expected=numbers[:, k : k + levels.size] * unit[:, None],
        best_fit=numbers[:, asymptotics.BEST] * unit,
        best_fit_error=numbers[:, [asymptotics.ERROR_LOW, asymptotics.ERROR_HIGH]] * unit[:, None],
        p0=np.asarray(ndtr(-significance)),
        significance=significance,
        cls_observed=numbers[:, asymptotics.CLS],
        cls_expected=numbers[:, k + levels.size :],
        background_near_peak=numbers[:, asymptotics.NEAR_PEAK],
        status=status,
        edm=numbers[:, asymptotics.EDM],
    )
