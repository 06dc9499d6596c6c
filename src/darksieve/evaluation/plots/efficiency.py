"""What the selection keeps, against mass: efficiencies, score boundaries, share of the score's ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    set_log_y,
    set_y,
)
from darksieve.evaluation.plots.curves import draw_curves, finish, room_above
from darksieve.evaluation.plots.style import (
    GREY,
    Drawing,
    Floats,
    Stamp,
    figure_of,
    number,
    styled,
)


@styled
def draw_signal_efficiency(
    masses: ArrayLike,
    efficiencies: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    errors: Mapping[str, ArrayLike] | None = None,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Absolute signal efficiency against mass: after the preselection, in each category, in all.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        efficiencies: Name -> efficiency relative to all generated signal events, shape (n,).
        stamp: What stands above the axes.
        errors: Name -> standard errors, shape (n,), where known.
        axis: The axis of masses, with the ranges that are not searched.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, efficiencies, errors, "efficiency", axis)
    set_y(axes, np.zeros(1), *shown, room_above=room_above(len(shown)), room_below=0.0)
    axes.set_ylabel("Signal efficiency")
    finish(axes, points, stamp, axis, len(shown))
    alt = f"Absolute signal efficiency against mass for {', '.join(efficiencies)}; largest {_largest(shown)}."
    return Drawing(figure_of(axes), table, alt)


@styled
def draw_background_efficiency(
    masses: ArrayLike,
    efficiencies: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    errors: Mapping[str, ArrayLike] | None = None,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Background efficiency against mass, logarithmic: by process, or at chosen signal efficiencies.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        efficiencies: Name (a process; "at 70 % signal efficiency") -> efficiency, shape (n,).
        stamp: What stands above the axes.
        errors: Name -> standard errors, shape (n,), where known.
        axis: The axis of masses, with the ranges that are not searched.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, efficiencies, errors, "background_efficiency", axis)
    set_log_y(axes, *shown, room_above=room_above(len(shown)))
    axes.set_ylabel("Background efficiency")
    finish(axes, points, stamp, axis, len(shown))
    alt = f"Background efficiency against mass for {', '.join(efficiencies)}; largest {_largest(shown)}."
    return Drawing(figure_of(axes), table, alt)


@styled
def draw_boundaries(
    masses: ArrayLike,
    boundaries: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    axis: MassAxis = MASS_AXIS,
    score_label: str = "Score",
) -> Drawing:
    """Score thresholds, or the lower ends of the score categories, against mass.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        boundaries: Name -> score, shape (n,).
        stamp: What stands above the axes.
        axis: The axis of masses, with the ranges that are not searched.
        score_label: Label of the axis of scores.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, boundaries, None, "score", axis)
    set_y(axes, *shown, room_above=room_above(len(shown)))
    axes.set_ylabel(score_label)
    finish(axes, points, stamp, axis, len(shown))
    return Drawing(figure_of(axes), table, f"Score boundaries against mass: {', '.join(boundaries)}.")


@styled
def draw_percent_of_ceiling(
    masses: ArrayLike,
    percent: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    errors: Mapping[str, ArrayLike] | None = None,
    goal: float | None = None,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """How much of what the score could give the working points reach: 100 × ceiling limit / expected limit.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        percent: Name (kind of working points) -> per cent, shape (n,), on events that did not choose them.
        stamp: What stands above the axes.
        errors: Name -> standard errors in per cent, shape (n,), where known.
        goal: Drawn as a line, in per cent.
        axis: The axis of masses, with the ranges that are not searched.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, percent, errors, "percent_of_ceiling", axis)
    lines = [np.array([100.0])]
    axes.axhline(100, color="black", linewidth=0.8)
    if goal is not None:
        axes.axhline(goal, color=GREY, linewidth=0.9, linestyle="--", label=f"goal {number(goal)} %")
        lines.append(np.array([goal]))
    n_entries = len(shown) + (goal is not None)
    set_y(axes, *shown, *lines, room_above=room_above(n_entries))
    axes.set_ylabel("Reach relative to the score's ceiling [%]")
    finish(axes, points, stamp, axis, n_entries)
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
