"""What the fits of a scan gave: best-fit strength, pulls against mass, and the impact of each nuisance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    is_vetoed,
    mark_vetoes,
    set_y,
    with_gaps,
)
from darksieve.evaluation.plots.style import (
    BLUE,
    GREY,
    SKY,
    VERMILION,
    Drawing,
    Floats,
    Stamp,
    as_floats,
    fit_legend,
    new_figure,
    new_panels,
    number,
    plain,
    stamp_axes,
    styled,
)


def _refuse_blind(stamp: Stamp, what: str) -> None:
    if stamp.blind:
        raise ValueError(f"{what} were given for a picture that is stamped blind")


@styled
def draw_best_fit(
    masses: ArrayLike,
    best_fit: ArrayLike,
    errors: ArrayLike,
    *,
    y_label: str,
    stamp: Stamp,
    injected: tuple[float, float] | None = None,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Best-fit strength against mass with its error band.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        best_fit: Fitted strength in units of the parameter, NaN where there is none, shape (n,).
        errors: Distances to the lower (negative) and upper end, shape (n, 2).
        y_label: With its unit.
        stamp: What stands above the axes; not blind.
        injected: Mass in GeV and strength of a signal that was put into pseudo-data.
        axis: The axis of masses, with the ranges that are not searched.

    Raises:
        ValueError: If shapes differ or the picture is stamped blind.
    """
    _refuse_blind(stamp, "fitted strengths")
    points = as_floats(masses, "masses")
    values = as_floats(best_fit, "best_fit", points.shape).copy()
    spread = as_floats(errors, "errors", (len(points), 2)).copy()
    gaps = axis.gaps
    values[is_vetoed(points, gaps)] = np.nan
    low, high = values - np.abs(spread[:, 0]), values + np.abs(spread[:, 1])
    figure, axes = new_figure(7.6, 4.6)
    x, (middle, below, above) = with_gaps(points, np.stack([values, low, high]), gaps)
    axes.fill_between(x, below, above, color=SKY, alpha=0.5, linewidth=0, label=r"$\pm1\sigma$")
    few = len(points) <= 40
    axes.plot(x, middle, "o-" if few else "-", color=BLUE, linewidth=1, markersize=3, label="Best fit")
    axes.axhline(0, color="black", linewidth=0.8)
    shown = [low, high]
    if injected is not None:
        axes.plot(*injected, "*", color=VERMILION, markersize=11, label=f"Injected at {injected[0]:g} GeV")
        shown.append(np.array([injected[1]]))
    axis.scale_axes(axes, points)
    set_y(axes, *shown, room_above=0.14)
    axes.set_ylabel(y_label)
    mark_vetoes(axes, gaps)
    legend = axes.legend(loc="upper left", ncols=3)
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)
    table = {"mass_gev": points, "best_fit": values, "low": low, "high": high}
    return Drawing(figure, table, "Best-fit signal strength against mass with its one-sigma band.")


@styled
def draw_pulls(
    masses: ArrayLike,
    pulls: ArrayLike,
    *,
    stamp: Stamp,
    pull_label: str = "Pull",
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Pulls against mass and their distribution beside the unit normal one that they should follow.

    Args:
        masses: Masses in GeV, shape (n,), in any order: several pseudo-experiments may share a mass.
        pulls: (fitted − true)/error, or fitted/error where nothing is there, NaN where there is none, (n,).
        stamp: What stands above the axes; not blind.
        pull_label: Label of the axis of pulls.
        axis: The axis of masses, with the ranges that are not searched.

    Returns:
        Figure and table: mass_gev, pull. Mean and width, with their errors, are in the legend.

    Raises:
        ValueError: If shapes differ, there is no finite pull, or the picture is stamped blind.
    """
    _refuse_blind(stamp, "pulls")
    points = as_floats(masses, "masses")
    values = as_floats(pulls, "pulls", points.shape)
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ValueError("no finite pull to draw")
    figure, (axes, side) = new_panels(1, 2, width=8.2, height=4.4, width_ratios=[2.3, 1], share_y=True)
    axes.plot(points, values, ".", color=BLUE, markersize=3, gid="pulls")
    axes.axhline(0, color="black", linewidth=0.8)
    for level in (-2, 2):
        axes.axhline(level, color=GREY, linewidth=0.7, linestyle=":")
    reach = max(4.0, 1.15 * float(np.max(np.abs(finite))))
    axes.set_ylim(-reach, reach)
    axes.set_ylabel(pull_label)
    axis.scale_axes(axes, points)
    mark_vetoes(axes, axis.gaps)
    edges = np.linspace(-reach, reach, 33)
    counts = np.histogram(finite, edges)[0]
    side.stairs(counts, edges, orientation="horizontal", fill=True, color=SKY, alpha=0.6)
    grid = np.linspace(-reach, reach, 200)
    normal = len(finite) * (edges[1] - edges[0]) * np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    side.plot(normal, grid, color="black", linewidth=1.0, label="unit normal")
    side.set_xlabel("Entries")
    mean, width = float(np.mean(finite)), float(np.std(finite))
    root = np.sqrt(len(finite))
    text = (
        f"mean {mean:.2f} $\\pm$ {width / root:.2f}\nwidth {width:.2f} $\\pm$ {width / root / np.sqrt(2):.2f}"
    )
    side.plot([], [], " ", label=text.replace("-", "−"))
    side.set_xlim(0, 1.3 * max(float(normal.max()), float(counts.max())))
    side.legend(loc="upper right", handlelength=1.2, fontsize=8)
    stamp_axes(axes, stamp, side)
    alt = f"Pulls against mass: mean {mean:.2f}, width {width:.2f} over {len(finite)} fits."
    return Drawing(figure, {"mass_gev": points, "pull": values}, alt)


@styled
def draw_impacts(
    names: Sequence[str],
    pulls: ArrayLike,
    pull_errors: ArrayLike,
    impacts: ArrayLike,
    *,
    mass: float,
    unit: str,
    stamp: Stamp,
) -> Drawing:
    """Impact of each nuisance on the fitted strength at one mass, the largest on top, with its pull.

    Args:
        names: Names of the nuisances, (n,).
        pulls: Fitted values in units of the constraint's width, shape (n,).
        pull_errors: Their errors after the fit, shape (n,).
        impacts: Change of the fitted strength for −1 σ and +1 σ of each nuisance, shape (n, 2).
        mass: GeV.
        unit: Unit of the parameter.
        stamp: What stands above the axes; not blind.

    Raises:
        ValueError: If shapes differ, there is no nuisance, or the picture is stamped blind.
    """
    _refuse_blind(stamp, "fitted nuisances")
    n = len(names)
    if not n:
        raise ValueError("no nuisance to draw the impact of")
    positions = as_floats(pulls, "pulls", (n,))
    bars = as_floats(pull_errors, "pull_errors", (n,))
    changes = as_floats(impacts, "impacts", (n, 2))
    order = np.argsort(np.max(np.abs(changes), axis=1))  # smallest first: the axis counts from below
    rows = np.arange(n)
    figure, (left, right) = new_panels(
        1, 2, width=8.2, height=max(2.4, 1.6 + 0.32 * n), width_ratios=[1.5, 1], share_y=True
    )
    left.barh(rows, changes[order, 0], height=0.7, color=SKY, label=r"$-1\sigma$")
    left.barh(rows, changes[order, 1], height=0.7, color=VERMILION, alpha=0.75, label=r"$+1\sigma$")
    left.axvline(0, color="black", linewidth=0.8)
    reach = 1.35 * float(np.max(np.abs(changes))) or 1.0
    left.set_xlim(-reach, reach)
    left.set_yticks(rows, [plain(names[i]) for i in order])
    left.set_ylim(-0.7, n - 0.3 + 0.9)  # room for the legend
    left.tick_params(axis="y", which="minor", left=False, right=False)
    left.set_xlabel(f"Change of the fitted strength{f' [{unit}]' if unit not in ('', '1') else ''}")
    left.legend(loc="upper right", ncols=2, title=f"{number(mass, 4)} GeV", title_fontsize=9)
    right.errorbar(
        positions[order], rows, xerr=bars[order], fmt="o", color="black", markersize=4, linewidth=1
    )
    for level in (-1, 0, 1):
        right.axvline(level, color=GREY, linewidth=0.8, linestyle="-" if level == 0 else ":")
    reach = max(1.8, 1.15 * float(np.max(np.abs(positions) + bars)))
    right.set_xlim(-reach, reach)
    right.set_xlabel(r"Pull [$\sigma$]")
    right.tick_params(axis="y", which="both", left=False, right=False)
    stamp_axes(left, stamp, right)
    table: dict[str, Sequence[str] | Floats] = {
        "nuisance": [names[i] for i in order[::-1]],
        "pull": positions[order[::-1]],
        "pull_error": bars[order[::-1]],
        "impact_minus1": changes[order[::-1], 0],
        "impact_plus1": changes[order[::-1], 1],
    }
    top = names[order[-1]]
    return Drawing(figure, table, f"Impact of {n} nuisances at {number(mass, 4)} GeV; the largest is {top}.")
