"""Background of a narrow selection from a wider one around it: same scores, fewer candidates.

A selection in variables that the score does not tell of (Mbc and ΔE, after decorrelation) leaves few
simulated candidates, and none of high score. Where the chance to be inside depends on the observable alone,
each candidate of the wider selection stands for as many inside as that chance says: the same spectrum and
total with many times the candidates. What is left of a dependence on the score is fitted along and quoted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, log_expit

from darksieve.errors import InputError

FEWEST_INSIDE = 50.0  # effective candidates: a total known to 14 %
N_KNOTS = 4  # of the chance as a function of the observable, at quantiles: six free numbers
ENOUGH_ABOVE = 25.0  # effective candidates inside: beyond the score that so many pass the tilt stays as it is
SIGNAL_EFFICIENCIES = (0.9, 0.7, 0.5, 0.3)  # at which scores inside and outside are compared
_RIDGE = 1e-3  # steadies knots that no candidate inside is near
_STEPS = 50
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Passing:
    """How much more often background inside passes a score than background outside of the same observable.

    Attributes:
        signal_efficiency: Share of the signal that passes.
        ratio: Share of background that passes, inside over outside; None where none of one side does.
        error: Its statistical error.
    """

    signal_efficiency: float
    ratio: float | None
    error: float | None


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """What candidates inside and outside of a selection are worth inside.

    Attributes:
        factor: For each candidate, what its weight is multiplied by, shape (n,).
        n_inside, n_outside: Candidates.
        tilt: By how much the log-odds to be inside rise from the signal's lowest score to ``tilt_until``.
        tilt_error: Its statistical error.
        tilt_until: Share of the signal below the score from which on the log-odds stay.
        passing: Scores inside and outside compared, without the tilt.
    """

    factor: NDArray[np.float64]
    n_inside: int
    n_outside: int
    tilt: float
    tilt_error: float
    tilt_until: float
    passing: tuple[Passing, ...]

    @property
    def tilt_significance(self) -> float:
        """The tilt in units of its error."""
        return self.tilt / self.tilt_error

    def to_json(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        return {
            "n_inside": self.n_inside,
            "n_outside": self.n_outside,
            "tilt": self.tilt,
            "tilt_error": self.tilt_error,
            "tilt_until": self.tilt_until,
            "passing": [asdict(one) for one in self.passing],
        }


def signal_quantile(score: ArrayLike, of_signal: ArrayLike, weight: ArrayLike) -> NDArray[np.float64]:
    """Share of the signal that has a lower score, in [0, 1].

    Args:
        score: Of some candidates, shape (n,).
        of_signal: Scores of signal, shape (m,), at least one.
        weight: Its weights, not negative, shape (m,).
    """
    of_signal, weight = np.asarray(of_signal), np.asarray(weight, np.float64)
    order = np.argsort(of_signal, kind="stable")
    share = np.concatenate([[0.0], np.cumsum(weight[order])])
    position = np.searchsorted(of_signal[order], np.asarray(score))
    quantile: NDArray[np.float64] = share[position] / share[-1]
    return quantile


def extrapolate(
    observable: ArrayLike, quantile: ArrayLike, weight: ArrayLike, inside: ArrayLike
) -> Extrapolation | None:
    """Let all candidates of one background stand for those inside a narrower selection.

    The chance to be inside is a logistic function of a cubic spline in the observable and of the score, which
    is fitted to the candidates; the factors keep the total inside. In the score it is a line up to where 25
    effective candidates inside are left, and constant above: nothing is known of how it goes on.

    Args:
        observable: What is scanned, shape (n,).
        quantile: Scores in quantiles of the signal, shape (n,).
        weight: Not negative, shape (n,).
        inside: Candidates of the narrower selection, shape (n,).

    Returns:
        None if too few are inside to tell their rate (50 effective candidates), or none is outside.

    Raises:
        InputError: If a weight is negative.
    """
    x, q, w = (np.asarray(values, np.float64) for values in (observable, quantile, weight))
    inside = np.asarray(inside, bool)
    if (w < 0).any():
        raise InputError(
            "background beside a channel's selection has negative weights, which a chance to be inside cannot"
            " be fitted to; set negative_weights of the sample to drop or rescale, or leave sideband out"
        )
    total = float(w[inside].sum())
    squares = float(np.sum(w[inside] ** 2))
    if squares == 0 or total**2 / squares < FEWEST_INSIDE or not w[~inside].any():
        return None
    until = _tilt_until(q[inside], w[inside])
    tilted = np.minimum(q, until) / until
    design = np.column_stack([_splines(x), tilted - np.average(tilted, weights=w)])
    unit = w * len(w) / w.sum()
    coefficients, covariance = _fit_logistic(design, inside, unit)
    chance = expit(design @ coefficients)
    factor = chance * (total / float(np.sum(w * chance)))
    without_tilt = expit(design[:, :-1] @ coefficients[:-1])
    outside_as_inside = w * without_tilt / (1 - without_tilt)
    return Extrapolation(
        factor=factor,
        n_inside=int(inside.sum()),
        n_outside=int((~inside).sum()),
        tilt=float(coefficients[-1]),
        tilt_error=float(np.sqrt(covariance[-1, -1])),
        tilt_until=until,
        passing=tuple(
            _passing(q >= 1 - efficiency, efficiency, inside, w, outside_as_inside)
            for efficiency in SIGNAL_EFFICIENCIES
        ),
    )


def _tilt_until(quantile: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Quantile above which ``ENOUGH_ABOVE`` effective candidates are."""
    order = np.argsort(-quantile, kind="stable")
    w = weight[order]
    effective = np.cumsum(w) ** 2 / np.maximum(np.cumsum(w**2), 1e-300)
    enough = int(np.searchsorted(effective, ENOUGH_ABOVE))
    return float(max(quantile[order][min(enough, len(order) - 1)], 1e-6))


def _splines(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic splines that add up to one, shape (n, n_splines)."""
    from sklearn.preprocessing import SplineTransformer

    knots = np.unique(np.quantile(x, np.linspace(0, 1, N_KNOTS)))
    if len(knots) < 2:
        return np.ones((len(x), 1))
    made = SplineTransformer(knots=knots[:, None], degree=3, extrapolation="constant")
    basis: NDArray[np.float64] = made.fit_transform(x[:, None])
    return basis


def _fit_logistic(
    design: NDArray[np.float64], inside: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients and covariance of a logistic regression with a slight ridge, by Newton's method."""
    ridge = _RIDGE * np.eye(design.shape[1])
    share = float(np.average(inside, weights=weight))
    coefficients = np.zeros(design.shape[1])
    coefficients[:-1] = np.log(share / (1 - share))  # the splines add up to one

    def loss(c: NDArray[np.float64]) -> float:
        z = design @ c
        likelihood = weight * np.where(inside, log_expit(z), log_expit(-z))
        return float(-likelihood.sum() + 0.5 * c @ ridge @ c)

    now = loss(coefficients)
    for _ in range(_STEPS):
        chance = expit(design @ coefficients)
        hessian = (design * (weight * chance * (1 - chance))[:, None]).T @ design + ridge
        gradient = design.T @ (weight * (inside - chance)) - ridge @ coefficients
        factor = cho_factor(hessian)
        step = cho_solve(factor, gradient)
        size = 1.0
        while (then := loss(coefficients + size * step)) > now and size > 1e-6:
            size /= 2
        coefficients = coefficients + size * step
        if now - then <= _TOLERANCE * abs(now):
            break
        now = then
    # weights are counts but for a factor: the sandwich takes the scatter that they have
    score = design * (weight * (inside - expit(design @ coefficients)))[:, None]
    inverse = cho_solve(factor, np.eye(design.shape[1]))
    return coefficients, inverse @ (score.T @ score) @ inverse


def _passing(
    passes: NDArray[np.bool_],
    efficiency: float,
    inside: NDArray[np.bool_],
    weight: NDArray[np.float64],
    as_inside: NDArray[np.float64],
) -> Passing:
    share_in, error_in = _share(passes[inside], weight[inside])
    share_out, error_out = _share(passes[~inside], as_inside[~inside])
    if not (share_in > 0 and share_out > 0):
        return Passing(efficiency, None, None)
    ratio = share_in / share_out
    return Passing(efficiency, ratio, ratio * float(np.hypot(error_in / share_in, error_out / share_out)))


def _share(passes: NDArray[np.bool_], weight: NDArray[np.float64]) -> tuple[float, float]:
    total = float(weight.sum())
    share = float(weight[passes].sum()) / total
    return share, float(np.sqrt(np.sum((weight * (passes - share)) ** 2))) / total
