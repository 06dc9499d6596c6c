"""What the selection keeps, against mass: efficiencies, score boundaries, share of the score's ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from darksieve.evaluation.plots.axes import (
    MASS_LABEL,
    VetoLike,
    as_vetoes,
    mark_vetoes,
    set_log_y,
    set_mass_axis,
    set_y,
    with_gaps,
)
from darksieve.evaluation.plots.style import (
    COLOURS,
    GREY,
    Drawing,
    Floats,
    Stamp,
    as_floats,
    figure_of,
    fit_legend,
    new_figure,
    number,
    plain,
    stamp_axes,
    styled,
)


def draw_curves(
    masses: ArrayLike,
    curves: Mapping[str, ArrayLike],
    errors: Mapping[str, ArrayLike] | None,
    prefix: str,
    vetoes: Sequence[VetoLike],
) -> tuple[Axes, dict[str, Floats], list[Floats], Floats]:
    """Curves against mass with error bands: axes, table, what is shown, and the masses."""
    points = as_floats(masses, "masses")
    gaps = as_vetoes(vetoes)
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
            alone = _without_neighbours(y)  # no band is drawn of a single point
            half = 0.5 * (ends[1] - ends[0])[alone]
            axes.errorbar(x[alone], y[alone], half, fmt="o", markersize=3.5, color=colour, capsize=2)
    return axes, table, shown, points


def _without_neighbours(values: Floats) -> NDArray[np.bool_]:
    """Where a value stands between two that are absent, shape (n,), bool."""
    there = np.concatenate([[False], np.isfinite(values), [False]])
    return there[1:-1] & ~there[:-2] & ~there[2:]


def finish(
    axes: Axes,
    points: Floats,
    stamp: Stamp,
    vetoes: Sequence[VetoLike],
    mass_scale: str,
    mass_label: str,
    n_entries: int,
) -> None:
    """Mass axis, vetoes, legend and stamp."""
    set_mass_axis(axes, points, scale=mass_scale, label=mass_label)
    mark_vetoes(axes, as_vetoes(vetoes))
    legend = axes.legend(loc="upper left", ncols=min(4, max(2, (n_entries + 1) // 2)))
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)


@styled
def draw_signal_efficiency(
    masses: ArrayLike,
    efficiencies: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    errors: Mapping[str, ArrayLike] | None = None,
    vetoes: Sequence[VetoLike] = (),
    mass_scale: str = "auto",
    mass_label: str = MASS_LABEL,
) -> Drawing:
    """Absolute signal efficiency against mass: after the preselection, in each category, in all.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        efficiencies: Name -> efficiency relative to all generated signal events, shape (n,).
        stamp: What stands above the axes.
        errors: Name -> standard errors, shape (n,), where known.
        vetoes: Ranges that are not searched.
        mass_scale: auto, linear or log.
        mass_label: With its unit.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, efficiencies, errors, "efficiency", vetoes)
    set_y(axes, np.zeros(1), *shown, room_above=0.12 + 0.05 * ((len(shown) + 3) // 4), room_below=0.0)
    axes.set_ylabel("Signal efficiency")
    finish(axes, points, stamp, vetoes, mass_scale, mass_label, len(shown))
    alt = f"Absolute signal efficiency against mass for {', '.join(efficiencies)}; largest {_largest(shown)}."
    return Drawing(figure_of(axes), table, alt)


@styled
def draw_background_efficiency(
    masses: ArrayLike,
    efficiencies: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    errors: Mapping[str, ArrayLike] | None = None,
    vetoes: Sequence[VetoLike] = (),
    mass_scale: str = "auto",
    mass_label: str = MASS_LABEL,
) -> Drawing:
    """Background efficiency against mass, logarithmic: by process, or at chosen signal efficiencies.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        efficiencies: Name (a process; "at 70 % signal efficiency") -> efficiency, shape (n,).
        stamp: What stands above the axes.
        errors: Name -> standard errors, shape (n,), where known.
        vetoes: Ranges that are not searched.
        mass_scale: auto, linear or log.
        mass_label: With its unit.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, efficiencies, errors, "background_efficiency", vetoes)
    set_log_y(axes, *shown, room_above=0.12 + 0.05 * ((len(shown) + 3) // 4))
    axes.set_ylabel("Background efficiency")
    finish(axes, points, stamp, vetoes, mass_scale, mass_label, len(shown))
    alt = f"Background efficiency against mass for {', '.join(efficiencies)}; largest {_largest(shown)}."
    return Drawing(figure_of(axes), table, alt)


@styled
def draw_boundaries(
    masses: ArrayLike,
    boundaries: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    vetoes: Sequence[VetoLike] = (),
    mass_scale: str = "auto",
    mass_label: str = MASS_LABEL,
    score_label: str = "Score",
) -> Drawing:
    """Score thresholds, or the lower ends of the score categories, against mass.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        boundaries: Name -> score, shape (n,).
        stamp: What stands above the axes.
        vetoes: Ranges that are not searched.
        mass_scale: auto, linear or log.
        mass_label: With its unit.
        score_label: Label of the axis of scores.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, boundaries, None, "score", vetoes)
    set_y(axes, *shown, room_above=0.12 + 0.05 * ((len(shown) + 3) // 4))
    axes.set_ylabel(score_label)
    finish(axes, points, stamp, vetoes, mass_scale, mass_label, len(shown))
    return Drawing(figure_of(axes), table, f"Score boundaries against mass: {', '.join(boundaries)}.")


@styled
def draw_percent_of_ceiling(
    masses: ArrayLike,
    percent: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    errors: Mapping[str, ArrayLike] | None = None,
    goal: float | None = None,
    vetoes: Sequence[VetoLike] = (),
    mass_scale: str = "auto",
    mass_label: str = MASS_LABEL,
) -> Drawing:
    """How much of what the score could give the working points reach: 100 × ceiling limit / expected limit.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        percent: Name (kind of working points) -> per cent, shape (n,), on events that did not choose them.
        stamp: What stands above the axes.
        errors: Name -> standard errors in per cent, shape (n,), where known.
        goal: Drawn as a line, in per cent.
        vetoes: Ranges that are not searched.
        mass_scale: auto, linear or log.
        mass_label: With its unit.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, percent, errors, "percent_of_ceiling", vetoes)
    lines = [np.array([100.0])]
    axes.axhline(100, color="black", linewidth=0.8)
    if goal is not None:
        axes.axhline(goal, color=GREY, linewidth=0.9, linestyle="--", label=f"goal {number(goal)} %")
        lines.append(np.array([goal]))
    n_entries = len(shown) + (goal is not None)
    set_y(axes, *shown, *lines, room_above=0.12 + 0.05 * ((n_entries + 3) // 4))
    axes.set_ylabel("Reach relative to the score's ceiling [%]")
    finish(axes, points, stamp, vetoes, mass_scale, mass_label, n_entries)
    finite = np.concatenate(shown)
    finite = finite[np.isfinite(finite)]
    alt = f"Share of the score's ceiling that the working points reach, against mass: {', '.join(percent)}"
    if len(finite):
        alt += f": {number(finite.min(), 4)} to {number(finite.max(), 4)} per cent"
    return Drawing(figure_of(axes), table, alt + ".")


def _largest(curves: Sequence[Floats]) -> str:
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    return number(values.max()) if len(values) else "unknown"
