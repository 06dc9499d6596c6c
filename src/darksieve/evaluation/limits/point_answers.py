"""What all kinds of points share: what was asked, and numbers put into a ``LimitPoint``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from darksieve.evaluation.limits.asimov import band_levels
from darksieve.evaluation.limits.counting import (
    Count,
    exact_cls,
    exact_expected_counts,
    exact_limit,
    exact_p0,
    significance_of,
)
from darksieve.evaluation.limits.curve import BAND_KEYS, LimitPoint, Numbers
from darksieve.evaluation.limits.toy_limits import N_STRENGTHS, ToySource, toy_cls, toy_limits

MethodChoice = Literal["auto", "asymptotic", "exact", "toys", "marginal"]
AUTO_THRESHOLD = 30.0  # background events within ±2σ


@dataclass(frozen=True)
class Asked:
    """What is wanted of every point; see ``answer_documents``."""

    confidence_level: float = 0.95
    method: MethodChoice = "auto"
    n_toys: int = 10_000
    cls_at: float | None = None
    test_statistic: Literal["qtilde", "q"] = "qtilde"
    bands: Literal["sigma", "quantile"] = "sigma"
    seed: int = 1
    threshold: float = AUTO_THRESHOLD

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the band in standard deviations."""
        return band_levels(self.bands)

    def wants_better(self, n_background: float) -> bool:
        """Whether ``auto`` leaves the asymptotic formulae at this background."""
        return self.method == "auto" and n_background < self.threshold

    def band(self, values: Sequence[float | None] | None) -> dict[str, float | None] | None:
        """Values at the band's levels by their keys."""
        if values is None:
            return None
        return dict(zip(BAND_KEYS[self.bands], (number(value) for value in values), strict=True))


def number(value: float | None) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and math.isfinite(value) else None


def exact_point(
    label: str,
    mass: float | None,
    asked: Asked,
    *,
    observed: float | None,
    signal: float,
    background: float,
    asymptotic: Numbers | None,
) -> LimitPoint:
    """A counting point with known background, answered exactly.

    Args:
        observed: The count, None while blind.
        signal: Expected signal events for one unit of the parameter, > 0.
        background: Expected background events.
        asymptotic: Kept beside, where not None.
    """
    counts = exact_expected_counts(background, asked.levels)
    values: dict[str, Any] = {
        "expected": asked.band([exact_limit(n, background, asked.confidence_level) / signal for n in counts])
    }
    if asked.cls_at is not None:
        strength = max(asked.cls_at, 0.0) * signal
        values["cls_expected"] = asked.band([exact_cls(n, strength, background) for n in counts])
    if observed is not None:
        count = Count(observed, background)
        p0 = exact_p0(observed, background)
        low, high = count.interval()
        values |= {
            "observed": exact_limit(observed, background, asked.confidence_level) / signal,
            "best_fit": count.best_fit / signal,
            "best_fit_error": (low / signal, high / signal),
            "p0": p0,
            "significance": significance_of(p0),
        }
        if asked.cls_at is not None:
            values["cls_observed"] = exact_cls(observed, strength, background)
    return LimitPoint(
        label=label, mass=mass, method="exact", status="converged", asymptotic=asymptotic, **values
    )


def with_toys(point: LimitPoint, source: ToySource, asked: Asked, *, asymptotic_beside: bool) -> LimitPoint:
    """A point answered asymptotically, with limits and CLs by toys in their place.

    Where toys cannot bracket a limit the point says so and keeps no number that was not asked for.
    """
    expected = [value for value in (point.expected or {}).values() if value is not None]
    guesses = [*expected, *([point.observed] if point.observed else [])]
    beside = Numbers(
        observed=point.observed,
        expected=point.expected,
        cls_observed=point.cls_observed,
        cls_expected=point.cls_expected,
    )
    if not guesses:
        return point.model_copy(
            update={"status": "failed", "note": "no start for toys: the asymptotic limits failed"}
        )
    try:
        found = toy_limits(
            source,
            guesses,
            asked.confidence_level,
            n_toys=max(asked.n_toys // N_STRENGTHS, 100),
            levels=asked.levels,
        )
    except ValueError as error:
        failed = LimitPoint(
            label=point.label, mass=point.mass, method="toys", status="failed", note=str(error)
        )
        return failed.model_copy(update={"asymptotic": beside})
    update: dict[str, Any] = {
        "method": "toys",
        "observed": number(found.observed),
        "observed_error": number(found.observed_error),
        "expected": asked.band(found.expected),
        "n_toys": found.n_toys,
        "asymptotic": beside if asymptotic_beside else None,
    }
    if asked.cls_at is not None and asked.cls_at > 0:
        at = toy_cls(source, asked.cls_at, asked.n_toys, asked.levels)
        update |= {"cls_observed": at.observed, "cls_expected": asked.band(at.expected)}
    if point.observed is not None and found.observed is None:
        update |= {"status": "failed", "note": "toys do not bracket the limit; ask for more with --toys"}
    elif any(value is None for value in found.expected):
        update["note"] = "toys do not bracket every level of the band; ask for more with --toys"
    return point.model_copy(update=update)


def p0_from_toys(observed: float, toys: np.ndarray, least: int = 20) -> float | None:
    """Share of the toys with at least the observed signed √q0; None where fewer than ``least`` pass."""
    n_above = int(np.sum(toys >= observed - 1e-6))
    return n_above / len(toys) if n_above >= least else None
