"""Pictures of a run's limits: bands of the parameter and the coupling, and what is published beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.couplings import ranges_where
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.plots import brazil_band, comparison
from darksieve.evaluation.published import (
    PublishedComparison,
    PublishedLimits,
    compare_with_published,
    published_limits,
)
from darksieve.workflow.fits import fits_of
from darksieve.workflow.interpreting import COUPLING_UNIT, converted, coupling_of, flight_mm
from darksieve.workflow.pictures import AXIS, Pictures


def draw_limit_pictures(pictures: Pictures) -> PublishedComparison | None:
    """Brazil bands of the parameter and of the coupling, and the comparison with what is published."""
    curve, config = pictures.curve, pictures.config
    good = pictures.with_limits
    if not good.any():
        return None
    masses = curve.masses[good]
    bands = np.stack([curve.expected(level)[good] for level in range(-2, 3)])
    observed = None if pictures.blind else curve.values("observed")[good]
    name, unit = config.linear_parameter
    published = config.interpretation.published
    known = None if published is None else published_limits(published)
    points = [known] if known is not None and known.parameter == name else []
    label = AXIS.get(name, name) + ("" if unit == "1" else f" [{unit}]")
    first = fits_of(config)[0]
    label += "" if first.reference is None else f" of B → {first.reference} a"
    label += "" if first.ctau_cm is None else f", cτ = {first.ctau_cm:g} cm"
    pictures.keep(
        "limits",
        brazil_band.draw_limits(
            masses,
            bands,
            observed=observed,
            confidence_level=config.confidence_level,
            y_label=f"Upper limit on the {label}",
            unit=unit,
            stamp=pictures.stamp(),
            axis=pictures.axis,
            published=points,
            tails=_tails(curve, good),
        ),
    )
    if config.interpretation.parameter == "g_agammagamma":
        pictures.keep(
            "coupling",
            brazil_band.draw_g_agammagamma_limits(
                masses,
                bands,
                observed_fb=observed,
                confidence_level=config.confidence_level,
                stamp=pictures.stamp(),
                sqrt_s=pictures.context.beams.sqrt_s,
                axis=pictures.axis,
                published=points,
                tails_fb=_tails(curve, good),
            ),
        )
    if config.interpretation.parameter == "g_aW":
        _draw_g_aW(pictures, masses, bands, observed, points)
    _draw_other_fits(pictures)
    if not points or abs(points[0].confidence_level - config.confidence_level) > 1e-9:
        return None
    compared = compare_with_published(
        masses,
        bands[2],
        points[0],
        luminosity_fb=config.luminosity_fb,
        confidence_level=config.confidence_level,
    )
    if not (compared.n_scan_points > 0).any():
        return None
    pictures.keep(
        "published", comparison.draw_comparison(compared, stamp=pictures.stamp(), axis=pictures.axis)
    )
    return compared


def _draw_g_aW(
    pictures: Pictures,
    masses: NDArray[np.float64],
    bands: NDArray[np.float64],
    observed: NDArray[np.float64] | None,
    points: list[PublishedLimits],
) -> None:
    """Band of the coupling to W bosons; the range in which the ALP flies too far is marked."""
    config = pictures.config
    coupling = coupling_of(config, pictures.context.beams.sqrt_s)
    assert coupling is not None
    bands = np.array([converted(coupling[1], band, masses) for band in bands])
    tails = np.array(
        [converted(coupling[1], end, masses) for end in _tails(pictures.curve, pictures.with_limits)]
    )
    flight = flight_mm(config, masses, bands[2])
    prompt_mm = config.interpretation.prompt_mm
    far: list[tuple[float, float]] = []
    if prompt_mm is not None and flight is not None:
        far = ranges_where(masses, np.nan_to_num(flight) > prompt_mm)
    reference = fits_of(config)[0].reference
    own = [one.as_g_aW(reference) for one in points if reference == "K+"]
    folded = " (counted inside)" if config.interpretation.fold_flight else ""
    pictures.keep(
        "coupling",
        brazil_band.draw_limits(
            masses,
            bands,
            observed=None if observed is None else converted(coupling[1], observed, masses),
            confidence_level=config.confidence_level,
            y_label=f"Upper limit on g_aW [{COUPLING_UNIT}]",
            unit=COUPLING_UNIT,
            stamp=pictures.stamp(),
            axis=pictures.axis,
            published=own,
            tails=tails,
            not_prompt=far,
            not_prompt_text=f"Mean flight above {prompt_mm:g} mm{folded}" if prompt_mm else "",
        ),
    )


def _draw_other_fits(pictures: Pictures) -> None:
    """Bands of the fits of some channels alone."""
    for fit in fits_of(pictures.config)[1:]:
        path = pictures.context.run / fit.file_name("limits", ".json")
        if not path.is_file():  # none of its channels has background
            continue
        curve = LimitCurve.load(path)
        good = np.isfinite(curve.masses) & np.isfinite(curve.expected())
        if not good.any():
            continue
        decay = f", {fit.part} alone" if fit.reference is None else f" of B → {fit.reference} a"
        decay += "" if fit.ctau_cm is None else f", cτ = {fit.ctau_cm:g} cm"
        name, unit = pictures.config.linear_parameter
        pictures.keep(
            fit.file_name("limits", ""),
            brazil_band.draw_limits(
                curve.masses[good],
                np.stack([curve.expected(level)[good] for level in range(-2, 3)]),
                observed=None if pictures.blind else curve.values("observed")[good],
                confidence_level=pictures.config.confidence_level,
                y_label=f"Upper limit on the {AXIS[name]}{decay}" + ("" if unit == "1" else f" [{unit}]"),
                unit=unit,
                stamp=pictures.stamp(),
                axis=pictures.axis,
                tails=_tails(curve, good),
            ),
        )


def _tails(curve: LimitCurve, good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lowest and highest median among the tail families at some points, NaN where unknown, shape (2, n)."""
    nothing = (np.nan, np.nan)
    ends = [point.tail_expected or nothing for point in curve.points]
    return np.array(ends, np.float64).reshape(-1, 2)[good].T
