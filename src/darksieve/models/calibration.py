"""Calibration of a model's probability: a strictly rising map, fitted on events that were not in its fit.

In the logarithm of the odds z = ln p / (1 - p) the map is a line (``sigmoid``) or a chain of lines
(``isotonic``) that goes on with its mean slope beyond its ends. Steps of a plain isotonic regression would
give many events one score, and a cut in between could not be made any more; the chain through the middles
of the steps keeps every order.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError

Method = Literal["none", "isotonic", "sigmoid"]
METHODS: tuple[str, ...] = get_args(Method)
LOWEST, HIGHEST = -88.0, 17.0  # ln odds that a float32 between 0 and 1 can have
EVENTS_PER_STEP = 10.0  # effective events of each class that stand for one step of the isotonic map
SMALLEST_SLOPE = 0.05  # of the sigmoid: a score without information still keeps its order

log = logging.getLogger("darksieve")


def _log_odds(probability: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(probability, np.float64)
    with np.errstate(divide="ignore"):
        z = np.log(p) - np.log1p(-p)
    return np.clip(z, LOWEST, HIGHEST)


@dataclass(frozen=True)
class ScoreCalibration:
    """A strictly rising chain of lines in the logarithm of the odds.

    Attributes:
        method: How it was fitted.
        raw: Knots in ln odds of the model's probability, strictly rising, at least one.
        calibrated: ln odds that they become, strictly rising, as many.
        outer_slope: Beyond the first and the last knot, positive.

    Raises:
        ValueError: If the knots do not rise, or the slope is not positive.
    """

    method: str
    raw: tuple[float, ...]
    calibrated: tuple[float, ...]
    outer_slope: float = 1.0

    def __post_init__(self) -> None:
        x, y = np.asarray(self.raw), np.asarray(self.calibrated)
        if x.shape != y.shape or x.ndim != 1 or not len(x):
            raise ValueError(f"a calibration needs as many raw as calibrated knots, not {x.shape}, {y.shape}")
        rises = (np.diff(x) > 0).all() and (np.diff(y) > 0).all()
        if not (np.isfinite(x).all() and np.isfinite(y).all() and rises and self.outer_slope > 0):
            raise ValueError("a calibration rises strictly: its knots and its outer slope must, too")

    def __call__(self, probability: ArrayLike) -> NDArray[np.float32]:
        """Calibrated probabilities of signal at equal priors, same shape; NaN stays NaN."""
        z = _log_odds(probability)
        x, y = np.asarray(self.raw), np.asarray(self.calibrated)
        inside = np.where(np.isnan(z), np.nan, np.interp(z, x, y))
        outside = np.where(z < x[0], z - x[0], np.where(z > x[-1], z - x[-1], 0.0))
        mapped = inside + self.outer_slope * outside
        return (1 / (1 + np.exp(-np.clip(mapped, 2 * LOWEST, -2 * LOWEST)))).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain mapping."""
        return {
            "method": self.method,
            "raw": list(self.raw),
            "calibrated": list(self.calibrated),
            "outer_slope": self.outer_slope,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], place: str = "calibration") -> ScoreCalibration:
        """What ``to_json`` gave.

        Raises:
            InputError: If it is not a calibration.
        """
        try:
            return cls(
                str(document["method"]),
                tuple(float(v) for v in document["raw"]),
                tuple(float(v) for v in document["calibrated"]),
                float(document["outer_slope"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{place}: no calibration of a score: {error}") from None


def fit_calibration(
    method: str, score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, *, place: str = "scores"
) -> ScoreCalibration:
    """Fit a calibration on events that the model was not fitted to.

    Args:
        method: "isotonic" or "sigmoid".
        score: The model's probabilities of signal, shape (n,).
        label: 1 signal, 0 background, shape (n,).
        weight: Not negative, shape (n,); ones where absent. The classes enter with equal total weight.
        place: Start of error messages.

    Raises:
        InputError: If the method is not known, a score is no probability, or a class is absent.

    References:
        B. Zadrozny, C. Elkan, KDD 2002 (isotonic); J. Platt, Adv. Large Margin Classifiers (1999) 61
        (sigmoid).
    """
    if method not in ("isotonic", "sigmoid"):
        raise InputError(f"{place}: calibrate is {method!r}; there are {list(METHODS)}")
    s, y = np.asarray(score, np.float64), np.asarray(label, np.float64)
    w = np.ones(len(s)) if weight is None else np.asarray(weight, np.float64).copy()
    if not ((s >= 0) & (s <= 1)).all():
        raise InputError(f"{place}: scores are not probabilities between 0 and 1; they cannot be calibrated")
    for value, name in ((1, "signal"), (0, "background")):
        total = w[y == value].sum()
        if not total > 0:
            raise InputError(
                f"{place}: no {name} among the {len(s)} held-out events to calibrate the score on;"
                " simulate more, or say calibrate: none"
            )
        w[y == value] *= 0.5 * len(s) / total
    z = _log_odds(s)
    if method == "sigmoid":
        slope, offset = _fit_line(z, y, w)
        if slope < SMALLEST_SLOPE:
            log.warning("%s: the share of signal hardly rises with the score (slope %.2g)", place, slope)
            slope, offset = SMALLEST_SLOPE, _fit_offset(SMALLEST_SLOPE * z, y, w)
        return ScoreCalibration(method, (0.0,), (offset,), slope)
    raw, calibrated = _isotonic_steps(z, y, w)
    mean_slope = (calibrated[-1] - calibrated[0]) / (raw[-1] - raw[0]) if len(raw) > 1 else 1.0
    return ScoreCalibration(method, tuple(raw.tolist()), tuple(calibrated.tolist()), float(mean_slope))


def _fit_line(z: NDArray, y: NDArray, w: NDArray) -> tuple[float, float]:
    """Slope and offset of ln odds by weighted logistic regression, held by half an event of each class."""
    target = np.where(y == 1, 1 - 0.5 / max((y == 1).sum(), 1), 0.5 / max((y == 0).sum(), 1))  # Platt
    design = np.stack([z, np.ones(len(z))], axis=1)
    beta = np.array([1.0, 0.0])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -50, 50)))
        gradient = design.T @ (w * (target - p))
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design + 1e-9 * len(z) * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0]), float(beta[1])


def _fit_offset(z: NDArray, y: NDArray, w: NDArray) -> float:
    """Offset at which the mean probability is the share of signal."""
    from scipy.optimize import brentq

    def excess(offset: float) -> float:
        return float(w @ (1 / (1 + np.exp(-(z + offset))) - y))

    return float(brentq(excess, 2 * LOWEST, -2 * LOWEST))


def _isotonic_steps(z: NDArray, y: NDArray, w: NDArray) -> tuple[NDArray, NDArray]:
    """Middles of the isotonic regression's steps, and their ln odds of signal, both strictly rising.

    Steps with too few events of a class join their neighbour: none is all signal or all background.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(z, kind="stable")
    z, y, w = z[order], y[order], w[order]
    used = w > 0
    z, y, w = z[used], y[used], w[used]
    starts = np.flatnonzero(np.append(True, np.diff(z) > 0))  # equal scores are one point
    columns = np.stack([w * y, w * (1 - y), w**2 * y, w**2 * (1 - y), w * z], axis=1)
    points = np.add.reduceat(columns, starts, axis=0)  # (n_points, 5)
    total = points[:, 0] + points[:, 1]
    blocks = isotonic_regression(points[:, 0] / total, weights=total).blocks
    steps = np.add.reduceat(points, blocks[:-1], axis=0)
    merged = _rising(_merged(steps))
    share = merged[:, 0] / (merged[:, 0] + merged[:, 1])
    raw = merged[:, 4] / (merged[:, 0] + merged[:, 1])
    return raw, np.log(share) - np.log1p(-share)


def _rising(steps: NDArray) -> NDArray[np.float64]:
    """Neighbouring steps of one share of signal put together: of equal counts there may be several."""
    out: list[NDArray] = []
    for step in steps:
        current = step
        while out and current[0] * out[-1][1] <= out[-1][0] * current[1] * (1 + 1e-9):
            current = current + out.pop()
        out.append(current)
    return np.stack(out)


def _merged(steps: NDArray) -> NDArray[np.float64]:
    """Neighbouring steps put together until each has enough effective events of both classes."""

    def is_enough(step: NDArray) -> bool:
        signal, background, signal2, background2, _ = step
        return bool(
            signal2 > 0
            and background2 > 0
            and signal**2 >= EVENTS_PER_STEP * signal2
            and background**2 >= EVENTS_PER_STEP * background2
        )

    out: list[NDArray] = []
    current = np.zeros(steps.shape[1])
    for step in steps:
        current = current + step
        if is_enough(current):
            out.append(current)
            current = np.zeros(steps.shape[1])
    if out:
        out[-1] = out[-1] + current
    else:
        out.append(current)
    return np.stack(out)
