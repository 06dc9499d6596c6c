"""Lifetimes: proper decay lengths flat in the logarithm of cτ, and weights that make them of any one cτ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LifetimeRange:
    """Mean proper decay lengths cτ that a sample holds, flat in log cτ; one value where both ends are equal.

    Attributes:
        low_cm: Smallest cτ.
        high_cm: Largest cτ.

    Raises:
        InputError: If they are not positive and finite, or fall.
    """

    low_cm: float
    high_cm: float

    def __post_init__(self) -> None:
        if not (0 < self.low_cm <= self.high_cm < np.inf):
            raise InputError(
                f"a range of cτ is {self.low_cm} to {self.high_cm} cm; both are positive, finite and in order"
            )

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        """Mean and drawn proper lengths c·t in cm, each of shape (n,)."""
        means = np.exp(rng.uniform(np.log(self.low_cm), np.log(self.high_cm), n))
        return means, means * rng.standard_exponential(n)

    def density(self, proper_lengths: Floats) -> Floats:
        """Probability density in 1/cm of a proper length, whatever its mean, shape (n,)."""
        t = np.asarray(proper_lengths, dtype=np.float64)
        if self.low_cm == self.high_cm:
            return np.exp(-t / self.low_cm) / self.low_cm
        # the mean integrated out: (exp(-t/high) - exp(-t/low)) / (t log(high/low)), finite at t = 0
        spread = 1 / self.low_cm - 1 / self.high_cm
        x = t * spread
        shape = np.where(x > 0, -np.expm1(-x) / np.where(x > 0, x, 1.0), 1.0)
        return np.exp(-t / self.high_cm) * shape * spread / np.log(self.high_cm / self.low_cm)

    def weights(self, proper_lengths: Floats, ctau_cm: float) -> Floats:
        """Weights that make a sample of this range one of a single cτ, mean 1 over what was generated.

        Event for event the generated mean has no say: the weight is the ratio of the two densities of the
        length itself, which is bounded inside the range and has the smallest variance.

        Args:
            proper_lengths: The branch ``genProperLength_…`` in cm, shape (n,).
            ctau_cm: The wanted mean, inside the range.

        Raises:
            InputError: If it lies outside: no event stands for it.
        """
        if not self.low_cm <= ctau_cm <= self.high_cm:
            raise InputError(
                f"cτ = {ctau_cm} cm is outside what was generated, {self.low_cm} to {self.high_cm} cm; "
                "generate a wider range"
            )
        t = np.asarray(proper_lengths, dtype=np.float64)
        weights: Floats = np.exp(-t / ctau_cm) / ctau_cm / self.density(t)
        return weights


def lifetime_efficiency(
    selected_lengths: Floats, n_generated: int, lifetimes: LifetimeRange, ctau_cm: float
) -> tuple[float, float]:
    """Efficiency at one cτ from events that passed a selection, and its standard error.

    Args:
        selected_lengths: Proper lengths in cm of the events that passed, shape (n,).
        n_generated: Generated events of the whole range.
        lifetimes: The range.
        ctau_cm: Where the efficiency is wanted.
    """
    weights = lifetimes.weights(selected_lengths, ctau_cm)
    efficiency = float(weights.sum()) / n_generated
    second_moment = float((weights**2).sum()) / n_generated
    return efficiency, float(np.sqrt(max(second_moment - efficiency**2, 0) / n_generated))
