"""Other figures of merit beside the expected limit of working points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.objectives import asimov_significance, make_objective


def add_other_figures_of_merit(rows: list[dict[str, Any]], n_categories: int, unit_yield: float) -> None:
    """Put Punzi's and the Asimov significance's verdict beside the expected limit, all categories together.

    ``punzi_strength`` is the smallest strength that would be discovered at 3 σ or excluded (Punzi's improved
    formula), ``discovery_strength`` that of a median significance of 3 σ with known background, both in
    units of the parameter; ``asimov_significance`` is that of the expected limit. Null without background.

    Args:
        rows: Points of ``working_points.json``, categories of a mass in consecutive rows; changed in place.
        n_categories: Categories of a mass.
        unit_yield: Signal events for one unit of the parameter at full efficiency.
    """
    shape = (len(rows) // n_categories, n_categories)

    def column(name: str) -> NDArray[np.float64]:
        values = [np.nan if row[name] is None else row[name] for row in rows]
        return np.array(values, dtype=float).reshape(shape)

    signal, background = column("signal_efficiency") * unit_yield, column("n_background")
    limit = column("expected_limit")[:, 0]
    usable = (np.isfinite(signal) & np.isfinite(background) & (background > 0) & (signal > 0)).all(axis=1)
    usable &= np.isfinite(limit)
    figures = {name: np.full(shape[0], np.nan) for name in ("punzi_strength", "discovery_strength")}
    figures["asimov_significance"] = np.full(shape[0], np.nan)
    s, b = signal[usable], background[usable]
    figures["punzi_strength"][usable] = make_objective("punzi")(s, b)
    figures["discovery_strength"][usable] = make_objective("discovery_known_background")(s, b)
    at_limit = asimov_significance(s * limit[usable][:, None], b)
    figures["asimov_significance"][usable] = np.sqrt(np.sum(at_limit**2, axis=1))
    for i, row in enumerate(rows):
        for name, values in figures.items():
            value = values[i // n_categories]
            row[name] = float(value) if np.isfinite(value) else None
