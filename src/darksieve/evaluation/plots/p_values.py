"""Local p-values against mass, with the global p-value of the largest excess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    alone,
    is_vetoed,
    mark_vetoes,
    with_gaps,
)
from darksieve.evaluation.plots.style import (
    BLUE,
    GREY,
    VERMILION,
    Drawing,
    Stamp,
    as_floats,
    fit_legend,
    new_figure,
    number,
    plain,
    stamp_axes,
    styled,
)

SMALLEST = 1e-200  # 30 sigma


@dataclass(frozen=True)
class GlobalPValue:
    """Probability of an excess at least as large as the largest one, anywhere in the scan.

    Attributes:
        p_global: The probability.
        error: Its uncertainty, None where the method gives none.
        method: toys, gross-vitells, …
    """

    p_global: float
    error: float | None = None
    method: str = ""


@styled
def draw_p_values(
    masses: ArrayLike,
    p0: ArrayLike,
    *,
    stamp: Stamp,
    global_p_values: Sequence[GlobalPValue] = (),
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Local p-value of the background-only hypothesis against mass, with lines at whole significances.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        p0: Local p-values, NaN where a point has none, shape (n,). (1/2 and more where the best fit is <= 0.)
        stamp: What stands above the axes; not blind.
        global_p_values: Global p-values of the largest excess, for the legend.
        axis: The axis of masses, with the ranges that are not searched.

    Returns:
        Figure and table: mass_gev, p0, significance (one-sided, of the normal distribution).

    Raises:
        ValueError: If shapes differ, a p-value is outside [0, 1], or the picture is stamped blind.
    """
    from scipy.stats import norm

    points = as_floats(masses, "masses")
    values = as_floats(p0, "p0", points.shape).copy()
    if stamp.blind:
        raise ValueError("p-values were given for a picture that is stamped blind")
    if np.any((values < 0) | (values > 1)):
        wrong = values[(values < 0) | (values > 1)][0]
        raise ValueError(f"p-value {wrong:.4g} is outside [0, 1]")
    values[values < SMALLEST] = SMALLEST  # smaller ones, zero too, are drawn there
    gaps = axis.gaps
    values[is_vetoed(points, gaps)] = np.nan
    significance = norm.isf(values)
    known = np.isfinite(values) & np.isfinite(significance)  # counts without an event have p0 = 1
    largest = float(np.max(significance[known])) if np.any(known) else 0.0
    n_lines = max(3, int(np.ceil(largest + 0.5)))

    figure, axes = new_figure(7.6, 4.6)
    x, y = with_gaps(points, values, gaps)
    axes.plot(x, y, color=BLUE, linewidth=1.0, label="Local $p_0$", gid="p0", zorder=3)
    axes.plot(x[alone(y)], y[alone(y)], "o", color=BLUE, markersize=3, gid="p0-single", zorder=3)
    axes.set_yscale("log")
    axes.set_ylim(np.exp(1.28 * norm.logsf(n_lines)), 1.6)  # room for the legend below the last line
    axis.scale_axes(axes, points)
    for n_sigma in range(0, n_lines + 1, 1 if n_lines <= 8 else 5):
        level = norm.sf(n_sigma)
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            rf"{n_sigma}$\sigma$",
            (1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color="#555555",
        )
    axes.set_ylabel("Local $p$-value")
    if np.any(known):
        best = int(np.nanargmin(values))
        text = f"Largest excess: {number(points[best], 4)} GeV, {significance[best]:.1f}$\\sigma$ local"
        for one in global_p_values:
            error = "" if one.error is None else rf" $\pm$ {number(one.error, 2)}"
            method = f" ({plain(one.method)})" if one.method else ""
            text += f"\nglobal $p$ = {number(one.p_global, 2)}{error}{method}"
        axes.plot(
            points[best],
            values[best],
            "v",
            color=VERMILION,
            markersize=6,
            label=text,
            gid="largest",
            zorder=4,
        )
    mark_vetoes(axes, gaps)
    legend = axes.legend(loc="lower right", ncols=2)
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)

    alt = "Local p-values against mass: "
    if np.any(known):
        alt += f"the smallest is {number(values[best])} at {number(points[best], 4)} GeV"
        alt += f" ({significance[best]:.1f} sigma local)"
        for one in global_p_values:
            alt += f", global {number(one.p_global, 2)}{f' by {one.method}' if one.method else ''}"
    else:
        alt += "no point of the scan has one"
    return Drawing(figure, {"mass_gev": points, "p0": values, "significance": significance}, alt + ".")
