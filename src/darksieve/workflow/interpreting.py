"""From limits on the linear parameter to limits on a coupling: ``interpretation.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SearchConfig
from darksieve.couplings import g_agammagamma_from_cross_section
from darksieve.evaluation.limits.curve import LimitCurve

FORMAT = "darksieve-interpretation/1"
COUPLING_UNIT = "1/GeV"

Convert = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def coupling_of(config: SearchConfig, sqrt_s: float) -> tuple[str, Convert] | None:
    """Name of the coupling and its conversion (limits, masses) -> couplings; None where there is none."""
    if config.interpretation.parameter == "g_agammagamma":
        return "g_agammagamma", lambda values, masses: g_agammagamma_from_cross_section(
            masses, values, sqrt_s=sqrt_s
        )
    return None


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
        columns = {key: _converted(coupling[1], values, masses) for key, values in columns.items()}
    points = []
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
    return {
        "format": FORMAT,
        "parameter": {"name": name, "unit": unit},
        "from": {"name": curve.parameter.name, "unit": curve.parameter.unit},
        "confidence_level": curve.confidence_level,
        "luminosity_fb": config.luminosity_fb,
        "points": points,
    }


def _converted(
    convert: Convert, values: NDArray[np.float64], masses: NDArray[np.float64]
) -> NDArray[np.float64]:
    out = np.full(len(values), np.nan)
    known = np.isfinite(values) & (values >= 0)
    out[known] = convert(values[known], masses[known])
    return out


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
