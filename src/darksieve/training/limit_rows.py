"""What a sensitivity as the loss needs to know of a fit's rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError


@dataclass(frozen=True, eq=False)
class LimitRows:
    """What a sensitivity needs to know of a fit's rows beside features and labels.

    Attributes:
        yields: Expected events (background), or weights that are proportional to them, shape (n,).
        true_mass: Of signal, GeV; NaN for background, shape (n,).
        judges: Rows of the validation part that accept or reject, shape (n,). Whole events.
        expected_background: Events of the whole sample, which these rows stand for.
    """

    yields: NDArray[np.float64]
    true_mass: NDArray[np.float64]
    judges: NDArray[np.bool_]
    expected_background: float

    def __post_init__(self) -> None:
        if not self.expected_background > 0:
            raise InputError("fine_tune: the background's weights sum to 0; they are expected events")

    def digest(self) -> str:
        """SHA-256 of all of it."""
        sha = hashlib.sha256(str(self.expected_background).encode())
        for values in (self.yields, self.true_mass, self.judges):
            sha.update(np.ascontiguousarray(values).data)
        return sha.hexdigest()
