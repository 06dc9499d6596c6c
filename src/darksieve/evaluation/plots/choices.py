"""Choices of working points: the landscape that they lie in, and what a simpler choice would lose."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LogNorm
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    mark_vetoes,
    with_gaps,
)
from darksieve.evaluation.plots.curves import draw_curves, finish
from darksieve.evaluation.plots.style import (
    BLUE,
    INK,
    VERMILION,
    Drawing,
    Stamp,
    as_floats,
    figure_of,
    fit_legend,
    new_figure,
    number,
    stamp_axes,
    styled,
)

TOLERANCES = (0.01, 0.05)  # of the limit, that a threshold may be worse than the best one


@styled
def draw_landscape(
    masses: ArrayLike,
    kept_signal: ArrayLike,
    limits: ArrayLike,
    *,
    stamp: Stamp,
    modelled_below: ArrayLike | None = None,
    threshold: ArrayLike | None = None,
    categories: ArrayLike | None = None,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Expected limit of one cut over the best one at each mass, with the chosen line and its tolerance.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        kept_signal: Share of the signal that a cut keeps, ascending to 1, shape (n_cuts,).
        limits: Expected limits, NaN where too few simulated events pass, shape (n, n_cuts).
        stamp: What stands above the axes.
        modelled_below: Share below which the background is that of a tail beyond the simulation, shape (n,).
        threshold: Share that the chosen threshold keeps, shape (n,).
        categories: Shares above the edges of the categories, shape (n, n_categories).
        axis: The axis of masses, with the ranges that are not searched.

    Raises:
        ValueError: If shapes differ.
    """
    points, kept = as_floats(masses, "masses"), as_floats(kept_signal, "kept signal")
    values = as_floats(limits, "limits", (len(points), len(kept)))
    best = np.min(np.where(np.isfinite(values), values, np.inf), axis=1, keepdims=True)
    relative = values / best
    figure, axes = new_figure(7.6, 5.0)
    gaps = axis.gaps
    shown = np.ma.masked_invalid(relative.T)
    mesh = axes.pcolormesh(
        points, kept, shown, norm=LogNorm(1.0, 2.0), cmap="viridis_r", shading="nearest", rasterized=True
    )
    bar = figure.colorbar(mesh, ax=axes, extend="max", ticks=[1, 1.1, 1.2, 1.5, 2.0], format="%g")
    bar.ax.minorticks_off()
    bar.set_label("Expected limit over that of the best cut")
    filled = np.where(np.isfinite(relative.T), relative.T, 10.0)
    if min(filled.shape) >= 2:
        axes.contour(
            points, kept, filled, levels=[1 + t for t in TOLERANCES], colors=INK,
            linewidths=(1.3, 0.9), linestyles=("-", "--"),
        )  # fmt: skip
    axes.plot([], [], color=INK, label=f"within {100 * TOLERANCES[0]:g} % of the best", linewidth=1.3)
    axes.plot([], [], color=INK, label=f"within {100 * TOLERANCES[1]:g} %", linewidth=0.9, linestyle="--")
    table = {
        "mass_gev": np.repeat(points, len(kept)),
        "kept_signal": np.tile(kept, len(points)),
        "expected_limit": values.ravel(),
        "over_the_best": relative.ravel(),
    }
    if modelled_below is not None:
        line = as_floats(modelled_below, "modelled below", points.shape)
        table["modelled_below"] = np.repeat(line, len(kept))
        if (line > kept[0]).any():
            axes.fill_between(
                points, 0, line, facecolor="none", edgecolor="white", alpha=0.45, hatch="///", linewidth=0,
                step="mid",
            )  # fmt: skip
            axes.step(points, line, where="mid", color="white", linewidth=1.6)
            axes.step(
                points, line, where="mid", color=INK, linewidth=0.8, linestyle="-.",
                label="hatched: beyond the simulation",
            )  # fmt: skip
    if threshold is not None:
        line = as_floats(threshold, "threshold", points.shape)
        table["chosen_threshold"] = np.repeat(line, len(kept))
        x, y = with_gaps(points, line, gaps)
        axes.plot(x, y, color=VERMILION, linewidth=1.8, label="chosen threshold")
    if categories is not None:
        edges = np.asarray(categories, np.float64)
        for j in range(edges.shape[1]):
            line = as_floats(edges[:, j], "categories", points.shape)
            table[f"category_edge_{j + 1}"] = np.repeat(line, len(kept))
            x, y = with_gaps(points, line, gaps)
            label = "edges of the categories" if j == 0 else None
            axes.plot(x, y, color=BLUE, linewidth=1.4, linestyle=":", label=label)
    axes.set_ylim(0.0, 1.17 if modelled_below is None else 1.24)  # the legend stands above
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel("Share of the signal that a cut keeps")
    axis.scale_axes(axes, points)
    mark_vetoes(axes, gaps)
    legend = axes.legend(loc="upper left", ncols=2)
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)
    alt = "Expected limit of one cut relative to the best cut, against mass and share of the signal kept"
    return Drawing(figure, table, alt + ", with the chosen threshold and the region within one per cent.")


@styled
def draw_losses(
    masses: ArrayLike,
    losses: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    errors: Mapping[str, ArrayLike] | None = None,
    best: str = "categories",
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """What one would lose by a simpler choice: expected limit over that of the best choice.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        losses: Choice -> its limit over that of the choice made, shape (n,).
        stamp: What stands above the axes.
        errors: Choice -> standard errors, shape (n,), where known.
        best: What the others are compared with.
        axis: The axis of masses, with the ranges that are not searched.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, losses, errors, "limit_ratio", axis)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    values = np.concatenate(shown)
    values = values[np.isfinite(values) & (values > 0)]
    top = float(values.max()) if len(values) else 2.0
    axes.set_ylim(min(0.95, float(values.min()) * 0.98 if len(values) else 0.95), top ** (1.35) * 1.1)
    marks = (1, 1.1, 1.2, 1.5, 2, 3, 5, 10) if top < 3 else (0.5, 1, 2, 5, 10, 20, 50, 100)
    ticks = [t for t in marks if axes.get_ylim()[0] <= t <= top * 1.3]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_ylabel(f"Expected limit over that of {best}")
    finish(axes, points, stamp, axis, len(shown))
    alt = f"Expected limits of simpler choices relative to {best}, against mass: {', '.join(losses)}"
    if len(values):
        alt += f"; up to {number(top, 3)}"
    return Drawing(figure_of(axes), table, alt + ".")
