"""The report's section on published limits: numbers side by side, and in words what makes the difference."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from darksieve.evaluation.published import (
    PublishedComparison,
    PublishedLimits,
    PublishedRange,
    published_ranges,
)
from darksieve.evaluation.report import Cell, Figure, ReportSection, Table
from darksieve.workflow.context import Context
from darksieve.workflow.fits import fits_of

PICTURE = ("published", "Expected over published")
_NAMES = (
    "mass_low_gev",
    "mass_high_gev",
    "published_median",
    "expected",
    "ratio",
    "ratio_at_equal_luminosity",
)
_COLUMNS = [
    "from [GeV]",
    "to [GeV]",
    "published observed",
    "expected here",
    "ratio",
    "ratio at equal luminosity",
]
_TEXT = (
    "Published limits are observed ones; nothing was tuned to them. Ours are median expected limits on a toy"
    " simulation."
)


def published_sections(
    context: Context, compared: PublishedComparison | None, figures: Sequence[Figure]
) -> list[ReportSection]:
    """The section; none where the config names nothing that is published and can be compared."""
    name = context.config.interpretation.published_range
    known = None if name is None else published_ranges()[name]
    if compared is None and known is None:
        return []
    paragraphs, tables = [_TEXT], []
    if compared is not None:
        tables.append(_bins(compared))
        paragraphs += differences(context, compared.published)
    if known is not None:
        tables.append(_range(context, known))
        paragraphs += differences(context, known)
    return [ReportSection("published", paragraphs=paragraphs, tables=tables, figures=list(figures))]


def differences(context: Context, published: PublishedLimits | PublishedRange) -> list[str]:
    """Sentences on what makes our limits differ from published ones, the luminosity first."""
    config = context.config
    ratio = config.luminosity_fb / published.luminosity_fb
    own = f"{config.luminosity_fb:g}/fb at {100 * config.confidence_level:g} % confidence here"
    there = f"{published.luminosity_fb:g}/fb at {100 * published.confidence_level:g} % there"
    power = 0.25 if published.parameter.startswith("g_") else 0.5
    scale = "" if np.isclose(ratio, 1) else f"; that alone makes ours {ratio**-power:.2f} times theirs"
    first = f"What makes the difference to {published.label} ({published.process}): {own}, {there}{scale}."
    return [" ".join([first, *published.differences])]


def _bins(compared: PublishedComparison) -> Table:
    table = compared.as_table()
    rows: list[list[Cell]] = [
        [float(table[name][i]) for name in _NAMES]
        for i in range(len(table["mass_low_gev"]))
        if table["n_scan_points"][i]
    ]
    published = compared.published
    note = f"{published.label}, {published.luminosity_fb:g}/fb, {published.reference}. {published.note}"
    return Table(f"Bins of {published.label}", _COLUMNS, rows, row_headers=False, note=note)


def _range(context: Context, published: PublishedRange) -> Table:
    """Ends of the published limits over all masses beside those of our medians."""
    rows: list[list[Cell]] = [
        [f"{published.label}, {published.process}", published.lowest, published.highest]
    ]
    for name, medians in _medians(context).items():
        known = medians[np.isfinite(medians)]
        if len(known):
            rows.append([f"expected here, {name}", float(known.min()), float(known.max())])
    unit = "" if published.unit == "1" else f" [{published.unit}]"
    title = f"Range of the limits on {published.parameter.replace('_', ' ')}{unit} over all masses"
    return Table(
        title,
        ["search", "lowest", "highest"],
        rows,
        note=f"{published.reference}: no limit at a mass is at hand.",
    )


def _medians(context: Context) -> dict[str, np.ndarray]:
    """Median expected limits of the interpretation and of the fits of some channels, in its parameter."""

    def read(name: str) -> np.ndarray:
        points = json.loads((context.run / name).read_text(encoding="utf-8"))["points"]
        values = [(point["expected"] or {}).get("0") for point in points]
        return np.array([np.nan if value is None else value for value in values], float)

    parameter = context.config.interpretation.parameter
    # a region of the mixing has no median: what is published there is the cross section of single channels
    out = {} if parameter == "sin_theta" else {"all channels": read("interpretation.json")}
    if parameter in (context.config.linear_parameter[0], "sin_theta"):
        for fit in fits_of(context.config)[1:]:
            name = fit.file_name("limits", ".json")
            if (context.run / name).is_file():  # else none of its channels has background
                out[str(fit.name)] = read(name)
    return out
