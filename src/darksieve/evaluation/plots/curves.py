"""Curves against mass with their error bands: what pictures of one value per mass have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    MassAxis,
    alone,
    mark_vetoes,
    with_gaps,
)
from darksieve.evaluation.plots.style import (
    COLOURS,
    Floats,
    Stamp,
    as_floats,
    fit_legend,
    new_figure,
    plain,
    stamp_axes,
)


def draw_curves(
    masses: ArrayLike,
    curves: Mapping[str, ArrayLike],
    errors: Mapping[str, ArrayLike] | None,
    prefix: str,
    axis: MassAxis,
) -> tuple[Axes, dict[str, Floats], list[Floats], Floats]:
    """Curves against mass with error bands: axes, table, what is shown, and the masses."""
    points = as_floats(masses, "masses")
    gaps = axis.gaps
    if not curves:
        raise ValueError(f"nothing to draw: no {prefix}")
    _, axes = new_figure(7.2, 4.6)
    table: dict[str, Floats] = {"mass_gev": points}
    shown = []
    sparse = len(points) <= 60  # few enough that the points themselves can be told apart
    for i, (name, curve) in enumerate(curves.items()):
        values = as_floats(curve, f"{prefix} of {name}", points.shape)
        colour = COLOURS[i % len(COLOURS)]
        table[f"{prefix}_{name}"] = values
        shown.append(values)
        marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if sparse else {}
        x, y = with_gaps(points, values, gaps)
        axes.plot(x, y, color=colour, linewidth=1.2, label=plain(name), gid=f"{prefix}-{name}", **marker)
        if errors and name in errors:
            error = as_floats(errors[name], f"error of {prefix} of {name}", points.shape)
            table[f"{prefix}_{name}_error"] = error
            x, ends = with_gaps(points, np.stack([values - error, values + error]), gaps)
            axes.fill_between(x, ends[0], ends[1], color=colour, alpha=0.2, linewidth=0)
            single = alone(y)  # no band is drawn of a single point
            half = 0.5 * (ends[1] - ends[0])[single]
            axes.errorbar(x[single], y[single], half, fmt="o", markersize=3.5, color=colour, capsize=2)
    return axes, table, shown, points


def room_above(n_entries: int) -> float:
    """Share of the axis' height that a legend of so many entries takes."""
    return 0.12 + 0.05 * ((n_entries + 3) // 4)


def finish(axes: Axes, points: Floats, stamp: Stamp, axis: MassAxis, n_entries: int) -> None:
    """Mass axis, vetoes, legend and stamp."""
    axis.scale_axes(axes, points)
    mark_vetoes(axes, axis.gaps)
    legend = axes.legend(loc="upper left", ncols=min(4, max(2, (n_entries + 1) // 2)))
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)
