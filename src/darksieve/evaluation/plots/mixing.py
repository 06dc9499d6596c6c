"""Limits of a long-lived particle: medians for several lifetimes, and regions in mass and mixing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    alone,
    is_vetoed,
    mark_vetoes,
    set_log_y,
    with_gaps,
)
from darksieve.evaluation.plots.style import (
    COLOURS,
    Drawing,
    Floats,
    Stamp,
    as_floats,
    fit_legend,
    new_figure,
    number,
    stamp_axes,
    styled,
)


@styled
def draw_limits_by_lifetime(
    masses: ArrayLike,
    expected: Mapping[float, ArrayLike],
    *,
    confidence_level: float,
    y_label: str,
    unit: str,
    stamp: Stamp,
    observed: Mapping[float, ArrayLike] | None = None,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Median expected limits against mass, a line for each lifetime, and the observed ones unless blind.

    Args:
        masses: GeV, ascending, shape (n,).
        expected: cτ in cm -> medians, NaN where there is none, shape (n,) each.
        confidence_level: Of the limits.
        y_label: With its unit.
        unit: For the names of the columns.
        stamp: What stands above the axes.
        observed: cτ -> observed limits, shape (n,) each; None while blind.
        axis: The axis of masses, with the ranges that are not searched.
    """
    at = as_floats(masses, "masses")
    gaps = axis.gaps
    shown = ~is_vetoed(at, gaps)
    figure, axes = new_figure(7.2, 4.8)
    table: dict[str, Any] = {"mass_gev": at[shown]}
    drawn: list[Floats] = []
    for colour, ctau in zip(COLOURS, sorted(expected), strict=False):
        for kind, given, style in (("expected", expected, "--"), ("observed", observed or {}, "-")):
            if ctau not in given:
                continue
            values = as_floats(given[ctau], f"{kind} limits at {ctau:g} cm", at.shape)[shown]
            named = kind == ("expected" if observed is None else "observed")
            label = rf"$c\tau$ = {number(ctau)} cm" if named else None
            axes.plot(
                *with_gaps(at[shown], values, gaps), style, color=colour, linewidth=1.3, label=label,
                gid=f"{kind}-{ctau:g}",
            )  # fmt: skip
            x, y = with_gaps(at[shown], values, gaps)
            single = alone(y)  # between vetoes no line would show it
            axes.plot(x[single], y[single], "o", color=colour, markersize=3)
            table[f"{kind}_ctau_{ctau:g}_cm [{unit}]"] = values
            drawn.append(values)
    axis.scale_axes(axes, at[shown])
    set_log_y(axes, *drawn, room_above=0.22)
    axes.set_ylabel(y_label)
    mark_vetoes(axes, gaps)
    kinds = "median expected" if observed is None else "observed; dashed: median expected"
    legend = axes.legend(loc="upper left", ncols=2, title=f"{number(100 * confidence_level)} % CLs, {kinds}")
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)
    alt = f"Upper limits against mass for {len(expected)} lifetimes."
    return Drawing(figure, table, alt)


@styled
def draw_mixing_regions(
    regions: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    confidence_level: float,
    stamp: Stamp,
    observed: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    axis: MassAxis = MASS_AXIS,
    remark: str = "",
) -> Drawing:
    """Excluded regions in mass and sin θ: filled for the median expectation, lines for the data.

    Args:
        regions: Final state -> masses in GeV, shape (n,), and ends of the excluded range of sin θ, NaN where
            nothing is excluded, shape (n, 2).
        confidence_level: Of the exclusion.
        stamp: What stands above the axes.
        observed: The same of the data; None while blind.
        axis: The axis of masses, with the ranges that are not searched.
        remark: What is supposed, below the legend's title.

    Raises:
        ValueError: If nothing is excluded anywhere, or shapes do not match.
    """
    gaps = axis.gaps
    figure, axes = new_figure(7.2, 5.2)
    rows: dict[str, list[Any]] = {"final_state": [], "kind": [], "mass_gev": [], "sin_theta_low": []}
    rows["sin_theta_high"] = []
    all_masses, all_ends = [], []
    kinds = {"expected": regions, "observed": observed or {}}
    for kind, given in kinds.items():
        for i, (name, (masses, ends)) in enumerate(given.items()):
            at = as_floats(masses, f"masses of {name}")
            pairs = as_floats(ends, f"ranges of {name}", (len(at), 2))
            kept = ~is_vetoed(at, gaps)
            x, y = with_gaps(at[kept], pairs[kept].T, gaps)
            if kind == "expected":
                axes.fill_between(
                    x, y[0], y[1], color=COLOURS[i], alpha=0.28, linewidth=0, gid=f"region-{name}",
                    label=f"{name}, median expected",
                )  # fmt: skip
            line: dict[str, Any] = {
                "color": COLOURS[i],
                "linewidth": 1.2,
                "linestyle": "--" if kind == "expected" else "-",
            }
            label = f"{name}, observed" if kind == "observed" else None
            axes.plot(x, y[0], gid=f"{kind}-{name}", label=label, **line)
            axes.plot(x, y[1], **line)
            single = alone(y[0])
            axes.vlines(x[single], y[0][single], y[1][single], color=COLOURS[i], alpha=0.28, linewidth=6)
            all_masses.append(at[kept])
            all_ends.append(pairs[kept].ravel())
            rows["final_state"] += [name] * len(at)
            rows["kind"] += [kind] * len(at)
            rows["mass_gev"] += at.tolist()
            rows["sin_theta_low"] += pairs[:, 0].tolist()
            rows["sin_theta_high"] += pairs[:, 1].tolist()
    if not all_ends or not np.isfinite(np.concatenate(all_ends)).any():
        raise ValueError("no mixing is excluded at any mass: there is no region to draw")
    axis.scale_axes(axes, np.concatenate(all_masses))
    set_log_y(axes, *all_ends, room_above=0.28)
    axes.set_ylabel(r"$\sin\theta$")
    mark_vetoes(axes, gaps)
    title = f"Excluded at {number(100 * confidence_level)} % CLs" + (f"; {remark}" if remark else "")
    legend = axes.legend(loc="upper left", ncols=2, title=title)
    legend.get_title().set_fontsize(8)
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)
    names = ", ".join(regions)
    return Drawing(figure, rows, f"Excluded regions in mass and sin θ from {names}.")
