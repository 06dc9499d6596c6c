"""Pictures and tables of a search at several lifetimes: limits by lifetime, regions of the mixing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.plots.mixing import draw_limits_by_lifetime, draw_mixing_regions
from darksieve.evaluation.report import Cell, ReportSection, Table
from darksieve.workflow.fits import fits_of
from darksieve.workflow.pictures import AXIS, Pictures

PICTURES = (
    ("mixing", "Excluded mixing against mass"),
    ("lifetimes_*", "Median limits for several lifetimes"),
)
NAMES = {"mumu": "h' → μμ", "pipi": "h' → ππ", "KK": "h' → KK"}
N_ROWS = 8  # masses of a channel in the table


def draw_lifetimes(pictures: Pictures) -> None:
    """Draw what a scan at several lifetimes has beside one at one; nothing else."""
    config = pictures.config
    if config.scan.ctau_cm is None:
        return
    for part in (None, *config.interpretation.also):
        curves: dict[float, LimitCurve] = {}
        for fit in fits_of(config):
            path = pictures.context.run / fit.file_name("limits", ".json")
            if fit.part == part and fit.ctau_cm is not None and path.is_file():
                curves[fit.ctau_cm] = LimitCurve.load(path)
        if len(curves) > 1:
            _draw_part(pictures, part, curves)
    if config.interpretation.parameter == "sin_theta":
        _draw_mixing(pictures)


def _draw_part(pictures: Pictures, part: str | None, curves: Mapping[float, LimitCurve]) -> None:
    config = pictures.config
    first = next(iter(curves.values()))
    name, unit = config.linear_parameter
    expected = {ctau: curve.expected() for ctau, curve in curves.items()}
    known = np.any([np.isfinite(values) for values in expected.values()], axis=0) & np.isfinite(first.masses)
    if not known.any():
        return
    observed = None
    if not pictures.blind:
        observed = {ctau: curve.values("observed")[known] for ctau, curve in curves.items()}
    alone = ("" if part is None else f", {part} alone") + ("" if unit == "1" else f" [{unit}]")
    pictures.keep(
        "lifetimes" if part is None else f"lifetimes_{part}",
        draw_limits_by_lifetime(
            first.masses[known],
            {ctau: values[known] for ctau, values in expected.items()},
            observed=observed,
            confidence_level=config.confidence_level,
            y_label=f"Upper limit on the {AXIS.get(name, name)}{alone}",
            unit=unit,
            stamp=pictures.stamp(),
            axis=pictures.axis,
        ),
    )


def _mixing_points(pictures: Pictures) -> dict[str, list[dict[str, Any]]]:
    """Points of interpretation.json by channel."""
    path = pictures.context.run / "interpretation.json"
    points: dict[str, list[dict[str, Any]]] = {}
    for point in json.loads(path.read_text(encoding="utf-8"))["points"]:
        points.setdefault(point["channel"], []).append(point)
    return points


def _draw_mixing(pictures: Pictures) -> None:
    config = pictures.config
    model = config.interpretation.dark_sector
    assert model is not None
    regions: dict[str, dict[str, tuple[Any, Any]]] = {"expected": {}, "observed": {}}
    for channel, points in _mixing_points(pictures).items():
        name = NAMES[str(config.channels[channel].final_state)]
        masses = np.array([point["mass"] for point in points])
        for kind, of_kind in regions.items():
            ends = [p["expected"]["0"] if kind == "expected" else p["observed"] for p in points]
            of_kind[name] = (masses, np.array([pair or (np.nan, np.nan) for pair in ends], float))
    all_ends = [ends for _, ends in regions["expected"].values()]
    if not all_ends or not np.isfinite(np.concatenate(all_ends)).any():
        return
    remark = (
        rf"$m_{{A'}}$ = {model.dark_photon_mass:g} GeV, $\alpha_D$ = {model.alpha_dark:g},"
        rf" $\epsilon$ = {model.epsilon:g}; widths to mesons uncertain"
    )
    pictures.keep(
        "mixing",
        draw_mixing_regions(
            regions["expected"],
            observed=None if pictures.blind else regions["observed"],
            confidence_level=config.confidence_level,
            stamp=pictures.stamp(),
            axis=pictures.axis,
            remark=remark,
        ),
    )


def mixing_section(pictures: Pictures, figures: list[Any]) -> list[ReportSection]:
    """The report's section on lifetimes and mixing; none where the scan has one lifetime."""
    config = pictures.config
    if config.scan.ctau_cm is None:
        return []
    lifetimes = ", ".join(f"{ctau:g}" for ctau in config.scan.ctau_cm)
    paragraphs = [
        f"The scan is repeated with the signal's efficiency at cτ = {lifetimes} cm, which follows from one"
        " sample by weights on true decay lengths. Selection, working points and windows are the same for"
        f" all; limits.json is that of {config.scan.ctau_cm[0]:g} cm."
    ]
    tables = []
    if config.interpretation.parameter == "sin_theta":
        document = json.loads((pictures.context.run / "interpretation.json").read_text(encoding="utf-8"))
        rows: list[list[Cell]] = []
        for channel, points in _mixing_points(pictures).items():
            for point in points[:: max(1, len(points) // N_ROWS)]:
                pairs = [point["expected"]["0"], point["observed"]]
                ends = [end for pair in pairs for end in (pair or (None, None))]
                rows.append([channel, point["mass"], *ends])
        columns = ["channel", "mass [GeV]", "expected from", "to", "observed from", "to"]
        own = document["model"]
        note = (
            f"m_A' = {own['dark_photon_mass']:g} GeV, α_D = {own['alpha_dark']:g}, ε = {own['epsilon']:g},"
            f" B(χ2 → χ1 e+e-) = {own['chi2_to_electrons']:g}. {document['supposed']}"
        )
        tables.append(Table("Excluded ranges of sin θ", columns, rows, row_headers=False, note=note))
    title = "Lifetimes and mixing"
    return [ReportSection("lifetimes", title, paragraphs=paragraphs, tables=tables, figures=figures)]
