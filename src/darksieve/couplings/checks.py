"""The numbers that a coupling may be asked with: finite, inside their range, or a ``ValueError``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def refuse(wrong: NDArray[np.bool_], values: Floats, what: str, allowed: str) -> None:
    if np.any(wrong):
        first = np.broadcast_to(values, np.shape(wrong))[wrong].flat[0]
        count = int(np.count_nonzero(wrong))
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise ValueError(f"{what} {first:.6g}{more} is not allowed: {allowed}")


def not_negative(values: ArrayLike, what: str) -> Floats:
    checked = np.asarray(values, dtype=np.float64)
    refuse(~(np.isfinite(checked) & (checked >= 0)), checked, what, "it must be finite and not negative")
    return checked


def positive(values: ArrayLike, what: str) -> Floats:
    checked = np.asarray(values, dtype=np.float64)
    refuse(~(np.isfinite(checked) & (checked > 0)), checked, what, "it must be finite and positive")
    return checked


def mass_below(values: ArrayLike, limit: ArrayLike, reason: str) -> Floats:
    masses = np.asarray(values, dtype=np.float64)
    limits = np.asarray(limit, dtype=np.float64)
    wrong = ~((masses >= 0) & (masses < limits))
    refuse(wrong, masses, "mass in GeV", f"it must be at least 0 and below {reason}")
    return masses
