"""Limits of single final states as excluded regions in the mass and the mixing of a dark Higgs boson."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.couplings import (
    dark_higgs_branching_fraction,
    dark_higgs_ctau_cm,
    dark_higgsstrahlung_cross_section_fb,
)
from darksieve.couplings.dark_higgs_widths import LARGEST_MASS
from darksieve.couplings.mixing_region import excluded_ranges
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.workflow.context import Context
from darksieve.workflow.fits import Fit, fits_of
from darksieve.workflow.scan_inputs import (
    FEWEST_EFFECTIVE,
    ScanInputs,
    effective_events,
    efficiency_at,
    weights_at,
)

FORMAT = "darksieve-interpretation/1"
N_LIFETIMES = 31  # of the grid that the efficiency is interpolated on
N_MIXINGS = 161
LEVELS = ("observed", "-2", "-1", "0", "1", "2")
SUPPOSED = (
    "Widths of h' to mesons: M. W. Winkler, arXiv:1809.01876, uncertain by large factors between 1 and 2 GeV."
    " Production: dark Higgsstrahlung at lowest order, arXiv:0903.0363. The lifetime of chi2 is the simulated"
    " one, whatever the mixing."
)


def interpret_mixing(
    context: Context, inputs: Sequence[ScanInputs], curves: Mapping[str | None, LimitCurve]
) -> dict[str, Any]:
    """Excluded ranges of sin θ by mass and channel, as JSON-ready numbers.

    Args:
        inputs: Of the scan, one per channel.
        curves: Limits by the names of their fits.
    """
    config = context.config
    model = config.interpretation.dark_sector
    assert model is not None
    assert config.scan.ctau_cm is not None
    alone = {
        fit.channels[0]: fit
        for fit in fits_of(config)
        if len(fit.channels) == 1 and fit.part is not None and fit.ctau_cm == config.scan.ctau_cm[0]
    }
    points: list[dict[str, Any]] = []
    for given in inputs:
        fit = alone[given.name]
        curve = curves.get(fit.name)
        if curve is not None:
            points += _of_channel(context, given, fit, curve)
    return {
        "format": FORMAT,
        "parameter": {"name": "sin_theta", "unit": "1"},
        "from": {"name": "cross_section", "unit": "fb"},
        "confidence_level": config.confidence_level,
        "luminosity_fb": config.luminosity_fb,
        "model": model.model_dump(mode="json"),
        "supposed": SUPPOSED,
        "lifetimes_cm": list(_lifetimes(context)),
        "points": points,
    }


def _lifetimes(context: Context) -> tuple[float, float]:
    """Lifetimes that every sample of the signal has."""
    given = [s.lifetime.generated_cm for s in context.config.samples.values() if s.lifetime is not None]
    return max(low for low, _ in given), min(high for _, high in given)


def _of_channel(context: Context, given: ScanInputs, fit: Fit, curve: LimitCurve) -> list[dict[str, Any]]:
    """Excluded ranges of one channel at the masses whose widths are known."""
    config = context.config
    model, final_state = config.interpretation.dark_sector, config.channels[given.name].final_state
    assert model is not None
    assert final_state is not None
    known = [p for p in curve.points if p.succeeded and p.mass is not None and p.mass <= LARGEST_MASS]
    if not known:
        return []
    masses = np.array([p.mass for p in known])
    (channel,) = given.channels_at(fit.ctau_cm)
    low, high = _lifetimes(context)
    grid = np.geomspace(low, high, N_LIFETIMES)
    efficiency = np.array([_efficiency(context, given, float(ctau), masses) for ctau in grid])
    at_reference = np.maximum(np.asarray(channel.efficiency(masses), float), 1e-300)
    rate = (
        dark_higgsstrahlung_cross_section_fb(
            masses,
            dark_photon_mass=model.dark_photon_mass,
            alpha_dark=model.alpha_dark,
            epsilon=model.epsilon,
            sqrt_s=context.beams.sqrt_s,
        )
        * model.chi2_to_electrons
        * dark_higgs_branching_fraction(final_state, masses)
    )
    # cτ falls as 1/sin²θ: the mixings whose lifetimes were simulated
    at_one = dark_higgs_ctau_cm(masses, np.ones(len(masses)))
    points = []
    limits = {level: _limits(curve, known, level) for level in LEVELS}
    for i, point in enumerate(known):
        mixings = np.geomspace(np.sqrt(at_one[i] / high), min(np.sqrt(at_one[i] / low), 1.0), N_MIXINGS)
        share = np.interp(np.log(at_one[i] / mixings**2), np.log(grid), efficiency[:, i]) / at_reference[i]
        # expected over excluded cross section, in units of the limit at the reference lifetime
        excluded = {
            level: _pair(excluded_ranges(mixings, rate[i] * share, values[i]))
            for level, values in limits.items()
        }
        points.append(
            {
                "label": f"{given.name}_{point.label}",
                "mass": point.mass,
                "channel": given.name,
                "status": point.status,
                "simulated_sin_theta": [float(mixings[0]), float(mixings[-1])],
                "observed": excluded.pop("observed"),
                "expected": excluded,
            }
        )
    return points


def _efficiency(
    context: Context, given: ScanInputs, ctau_cm: float, masses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Efficiency at one lifetime; 0, which excludes nothing, where too few events tell."""
    selected = weights_at(context, given.candidates, ctau_cm)[given.candidates.category > 0]
    if effective_events(selected) < FEWEST_EFFECTIVE:
        return np.zeros(len(masses))
    return efficiency_at(context, given.candidates, 1, ctau_cm)(masses)[0]


def _limits(curve: LimitCurve, known: Sequence[Any], level: str) -> NDArray[np.float64]:
    key = None if level == "observed" else level
    values = [p.observed if key is None else (p.expected or {}).get(key) for p in known]
    return np.array([np.nan if value is None else value for value in values], float)


def _pair(ends: NDArray[np.float64]) -> list[float] | None:
    return [float(ends[0]), float(ends[1])] if np.isfinite(ends).all() else None
