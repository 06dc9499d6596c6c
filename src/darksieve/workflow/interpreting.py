"""From limits on the linear parameter to limits on a coupling: ``interpretation.json``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SearchConfig
from darksieve.couplings import (
    alp_flight_length_mm,
    g_agammagamma_from_cross_section,
    g_aW_from_branching_fraction,
    g_aW_with_flight,
)
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.workflow.fits import fits_of

FORMAT = "darksieve-interpretation/1"
COUPLING_UNIT = "1/GeV"

Convert = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def coupling_of(config: SearchConfig, sqrt_s: float) -> tuple[str, Convert] | None:
    """Name of the coupling and its conversion (limits, masses) -> couplings; None where there is none."""
    if config.interpretation.parameter == "g_agammagamma":
        return "g_agammagamma", lambda values, masses: g_agammagamma_from_cross_section(
            masses, values, sqrt_s=sqrt_s
        )
    if config.interpretation.parameter == "g_aW":
        return "g_aW", partial(_g_aW, config)
    return None


def _g_aW(config: SearchConfig, values: NDArray, masses: NDArray) -> NDArray[np.float64]:
    """Coupling to W bosons from the branching fraction of the first channel's decay."""
    hadron = fits_of(config)[0].reference
    assert hadron is not None
    given = config.interpretation
    if not given.fold_flight:
        return g_aW_from_branching_fraction(hadron, masses, values)
    assert given.prompt_mm is not None
    return g_aW_with_flight(hadron, masses, values, given.prompt_mm)


def flight_mm(config: SearchConfig, masses: NDArray, couplings: NDArray) -> NDArray[np.float64] | None:
    """Mean flight length of the ALP in the frame of the B, mm; None where g_aW is not asked for.

    Args:
        config: The search.
        masses: GeV, shape (n,).
        couplings: Of ``interpret``, 1/GeV, NaN where there is none, shape (n,).
    """
    hadron = fits_of(config)[0].reference
    if hadron is None:
        return None
    known = np.isfinite(couplings) & (couplings > 0)
    out = np.full(len(masses), np.nan)
    out[known] = alp_flight_length_mm(hadron, masses[known], couplings[known])
    return out


def interpret(config: SearchConfig, curve: LimitCurve, sqrt_s: float) -> dict[str, Any]:
    """Limits on what the config asks for, at every mass; null where there is no limit."""
    coupling = coupling_of(config, sqrt_s)
    name, unit = (
        (curve.parameter.name, curve.parameter.unit) if coupling is None else (coupling[0], COUPLING_UNIT)
    )
    masses = curve.masses
    columns = {"observed": curve.values("observed")}
    columns |= {str(level): curve.expected(level) for level in range(-2, 3)}
    if coupling is not None:
        columns = {key: converted(coupling[1], values, masses) for key, values in columns.items()}
    flight = flight_mm(config, masses, columns["0"])
    points: list[dict[str, Any]] = []
    for i, point in enumerate(curve.points):
        expected = {key: _number(columns[key][i]) for key in ("-2", "-1", "0", "1", "2")}
        points.append(
            {
                "label": point.label,
                "mass": point.mass,
                "observed": _number(columns["observed"][i]),
                "expected": expected,
                "status": point.status,
            }
        )
        if flight is not None:
            points[-1]["flight_mm_at_median"] = _number(flight[i])
            prompt_mm = config.interpretation.prompt_mm
            known = prompt_mm is not None and np.isfinite(flight[i])
            points[-1]["prompt"] = bool(flight[i] <= prompt_mm) if known else None
    return {
        "format": FORMAT,
        "parameter": {"name": name, "unit": unit},
        "from": {"name": curve.parameter.name, "unit": curve.parameter.unit},
        "confidence_level": curve.confidence_level,
        "luminosity_fb": config.luminosity_fb,
        "points": points,
    }


def converted(
    convert: Convert, values: NDArray[np.float64], masses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Limits as couplings; NaN where there is no limit."""
    out = np.full(len(values), np.nan)
    known = np.isfinite(values) & (values > 0)
    out[known] = convert(values[known], masses[known])
    return out


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
