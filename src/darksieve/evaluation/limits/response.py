"""How the fit of one problem answers to its data: derivatives, covariance, and the pull of every bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.problem import Floats, ProblemBatch


@dataclass(frozen=True, eq=False)
class Response:
    """The linear response of a fit at its minimum.

    Attributes:
        expectation: Of the rows, shape (n_rows,).
        derivatives: Of the expectation by the parameters, shape (n_parameters, n_rows).
        covariance: Expected covariance of the parameters, zero for those at a bound or fixed, shape
            (n_parameters, n_parameters).
        strength: Index of the signal strength (in events).
    """

    expectation: Floats
    derivatives: Floats
    covariance: Floats
    strength: int

    @property
    def strength_per_event(self) -> Floats:
        """Change of the fitted strength (in events) for one more event in a row, shape (n_rows,)."""
        return self.covariance[self.strength] @ (self.derivatives / self.expectation)


def response(batch: ProblemBatch, problem: int, parameters: Floats) -> Response:
    """Response of a binned fit.

    Args:
        batch: The problems.
        problem: Which one.
        parameters: At the minimum, at least shape (n_parameters,).
    """
    one = MinuitProblem(batch, problem, batch.rows)
    x = np.array(parameters[: one.n])
    expectation = np.maximum(one.expectation(x), 1e-9)
    derivatives = np.zeros((one.n, expectation.size))
    for k in range(one.n):
        step = 1e-5 * max(abs(x[k]), 1e-2 if k < one.strength else 1.0)
        ends = []
        for sign in (1.0, -1.0):
            moved = x.copy()
            moved[k] += sign * step
            ends.append(_signed_expectation(one, moved))
        derivatives[k] = (ends[0] - ends[1]) / (2 * step)
    prior = np.where(np.arange(one.n) > one.strength, 1.0, 0.0)
    information = (derivatives / expectation) @ derivatives.T + np.diag(prior)
    return Response(expectation, derivatives, _inverse(information, _free(batch, problem, x)), one.strength)


def fitted_covariance(batch: ProblemBatch, problem: int, parameters: Floats) -> Floats:
    """Inverse Hessian of −ln L of the data at its minimum, zero for parameters at a bound."""
    one = MinuitProblem(batch, problem, batch.observed)
    x = np.array(parameters[: one.n])
    one.gradient(x)  # leaves the lower triangle of the Hessian behind
    lower = np.tril(np.array(one.scratch.hessian))
    return _inverse(lower + np.tril(lower, -1).T, _free(batch, problem, x))


def _signed_expectation(one: MinuitProblem, x: Floats) -> Floats:
    one.expectation(x)
    return np.array(one.scratch.nu)


def _free(batch: ProblemBatch, problem: int, x: Floats) -> NDArray[np.bool_]:
    structure = batch.structure
    return np.asarray((x > structure.lower[problem, : x.size]) & (x < structure.upper[problem, : x.size]))


def _inverse(matrix: Floats, free: NDArray[np.bool_]) -> Floats:
    # scaled to a unit diagonal: yields and slopes differ by orders of magnitude
    index = np.flatnonzero(free & (np.diag(matrix) > 0))
    part = matrix[np.ix_(index, index)]
    scale = 1 / np.sqrt(np.diag(part))
    inverse = np.linalg.pinv(part * np.outer(scale, scale), rcond=1e-12, hermitian=True)
    result = np.zeros_like(matrix)
    result[np.ix_(index, index)] = inverse * np.outer(scale, scale)
    return result
