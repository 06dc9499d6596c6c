"""The double-sided Crystal Ball: a Gaussian core with a power-law tail on each side."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

_ROOT_TWO_PI = float(np.sqrt(2 * np.pi))


@dataclass(frozen=True)
class CrystalBall:
    """A double-sided Crystal Ball, normalised to one on the whole real line.

    The parameters are numbers or arrays that broadcast against each other and against the methods' arguments.

    Attributes:
        mean: Position of the core, in the unit of the observable.
        sigma: Width of the core, > 0, same unit.
        alpha_left: Distance from the mean, in sigma, at which the left tail begins, > 0.
        n_left: Power of the left tail, > 1.
        alpha_right: The same on the right.
        n_right: The same on the right.

    References:
        J. E. Gaiser, SLAC-R-255 (1982), appendix F (the one-sided function).
    """

    mean: NDArray[np.float64] | float
    sigma: NDArray[np.float64] | float
    alpha_left: NDArray[np.float64] | float
    n_left: NDArray[np.float64] | float
    alpha_right: NDArray[np.float64] | float
    n_right: NDArray[np.float64] | float

    def _pieces(self) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Areas of the left tail, the core up to the mean's left and right sides, and the right tail."""
        a_l, n_l = np.asarray(self.alpha_left, float), np.asarray(self.n_left, float)
        a_r, n_r = np.asarray(self.alpha_right, float), np.asarray(self.n_right, float)
        left = n_l / (a_l * (n_l - 1)) * np.exp(-0.5 * a_l**2)
        right = n_r / (a_r * (n_r - 1)) * np.exp(-0.5 * a_r**2)
        return left, _ROOT_TWO_PI * (0.5 - ndtr(-a_l)), _ROOT_TWO_PI * (0.5 - ndtr(-a_r)), right

    def density(self, x: ArrayLike) -> NDArray[np.float64]:
        """Probability density at x, per unit of the observable."""
        a_l, n_l, a_r, n_r = self.alpha_left, self.n_left, self.alpha_right, self.n_right
        t = (np.asarray(x, float) - self.mean) / self.sigma
        # the tails are written with the ratio to their starting point: (n/a)^n overflows for steep tails
        left = -0.5 * np.square(a_l) - n_l * np.log1p(np.maximum(-t - a_l, 0) * a_l / n_l)
        right = -0.5 * np.square(a_r) - n_r * np.log1p(np.maximum(t - a_r, 0) * a_r / n_r)
        log = np.where(t < -np.asarray(a_l), left, np.where(t > a_r, right, -0.5 * t**2))
        return np.exp(log) / (sum(self._pieces()) * self.sigma)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        """Probability below x."""
        a_l, n_l, a_r, n_r = self.alpha_left, self.n_left, self.alpha_right, self.n_right
        left, core_left, core_right, right = self._pieces()
        t = (np.asarray(x, float) - self.mean) / self.sigma
        below = left * np.exp((1 - np.asarray(n_l)) * np.log1p(np.maximum(-t - a_l, 0) * a_l / n_l))
        above = right * np.exp((1 - np.asarray(n_r)) * np.log1p(np.maximum(t - a_r, 0) * a_r / n_r))
        total = left + core_left + core_right + right
        core = left + core_left + _ROOT_TWO_PI * (ndtr(np.clip(t, -np.asarray(a_l), a_r)) - 0.5)
        return np.where(t < -np.asarray(a_l), below, np.where(t > a_r, total - above, core)) / total

    def quantile(self, probability: ArrayLike) -> NDArray[np.float64]:
        """The x with the given probability below it: the inverse of ``cdf``."""
        a_l, n_l = np.asarray(self.alpha_left, float), np.asarray(self.n_left, float)
        a_r, n_r = np.asarray(self.alpha_right, float), np.asarray(self.n_right, float)
        left, core_left, core_right, right = self._pieces()
        total = left + core_left + core_right + right
        p = np.asarray(probability, float) * total
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            in_left = -a_l - n_l / a_l * np.expm1(np.log(np.minimum(p / left, 1.0)) / (1 - n_l))
            in_right = a_r + n_r / a_r * np.expm1(np.log(np.minimum((total - p) / right, 1.0)) / (1 - n_r))
            in_core = ndtri((p - left - core_left) / _ROOT_TWO_PI + 0.5)
        t = np.where(p < left, in_left, np.where(p > total - right, in_right, in_core))
        return self.mean + self.sigma * t

    def bin_fractions(self, edges: ArrayLike) -> NDArray[np.float64]:
        """Probability in each bin, the difference of the cdf along the last axis of ``edges``."""
        return np.diff(self.cdf(edges), axis=-1)

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """n independent draws, shape (n,), of a function with scalar parameters."""
        return np.asarray(self.quantile(rng.random(n)))

    def one(self, i: int) -> CrystalBall:
        """Function i of several, with scalar parameters."""
        values = np.broadcast_arrays(*(getattr(self, f.name) for f in fields(self)))
        return CrystalBall(*(float(value.reshape(-1)[i]) for value in values))

    def as_dict(self) -> dict[str, float]:
        """The parameters of one function by name, as the hand-over document spells them."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}
