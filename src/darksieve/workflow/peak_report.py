"""The report's table of backgrounds that peak where a signal would."""

from __future__ import annotations

import numpy as np

from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.report import Cell, Table
from darksieve.evaluation.signal_shape import position_of
from darksieve.workflow.channels import observable_of
from darksieve.workflow.context import Context

NEAR_SIGMA = 2.0


def peak_tables(context: Context) -> list[Table]:
    """One row for each peak in each channel of the fit; no table where no fit has any."""
    model = SearchModel.load(context.run / "search.json")
    selections = {name: observable_of(context, name) for name in context.config.channels}
    found: dict[tuple[str, str], list[Cell]] = {}
    near: dict[tuple[str, str], list[str]] = {}
    for point in model.points:
        for channel, signal in point.channels.items():
            selection = channel if channel in selections else channel.rpartition("_")[0]
            squared = position_of(selections[selection]) == "mass_squared"
            for background in model.background_of(point, channel):
                for peak in getattr(background, "peaking", ()):
                    place = np.sqrt(max(peak.mean, 0.0)) if squared else peak.mean
                    key = (channel, peak.name)
                    found[key] = [channel, peak.name, float(place), peak.yield_, peak.uncertainty]
                    reach = NEAR_SIGMA * (peak.sigma + getattr(signal, "sigma", 0.0))
                    if point.mass is not None and abs(getattr(signal, "mean", np.inf) - peak.mean) < reach:
                        near.setdefault(key, []).append(f"{point.mass:.4g}")
    if not found:
        return []
    rows = [[*row, _few(near.get(key, []))] for key, row in sorted(found.items())]
    columns = ["channel", "peak", "at mass [GeV]", "events", "relative uncertainty", "masses within 2 σ"]
    note = (
        "Components of the fit beside the smooth background, each with its own constrained normalisation:"
        " where one lies under a hypothesis, the limit there holds what that costs."
    )
    return [Table("Peaking backgrounds", columns, rows, note=note, row_headers=False)]


def _few(masses: list[str]) -> str:
    if len(masses) <= 4:
        return ", ".join(masses) or "none"
    return f"{masses[0]} to {masses[-1]} ({len(masses)})"
