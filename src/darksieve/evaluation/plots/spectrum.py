"""Spectra after the selection: simulation by process and, once unblinded, the data with their pulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    VetoLike,
    as_vetoes,
    mark_vetoes,
    set_log_y,
    set_y,
)
from darksieve.evaluation.plots.style import (
    BLUE,
    COLOURS,
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
    poisson_interval,
    stamp_axes,
    styled,
)


@styled
def draw_spectrum(
    edges: ArrayLike,
    expected: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    data: ArrayLike | None = None,
    data_label: str = "Pseudo-data",
    expected_error: ArrayLike | None = None,
    signal: ArrayLike | None = None,
    signal_label: str = "Signal",
    category: str = "",
    vetoes: Sequence[VetoLike] = (),
    logarithmic: bool = False,
    observable_label: str = r"$M(\gamma\gamma)$ [GeV]",
    observable: str = "m_gg",
) -> Drawing:
    """Spectrum of the observable in one category: processes stacked, data as points with pulls below.

    Bins without a single event have no point, as usual; the table has them.

    Args:
        edges: Edges of the bins in GeV, ascending, shape (n + 1,).
        expected: Process -> expected events per bin, shape (n,); stacked in this order from below. May be
            empty where there are data.
        stamp: What stands above the axes; ``stamp.blind`` forbids data.
        data: Observed events per bin, shape (n,); None while blind.
        data_label: Name of the data: say so where they are pseudo-data.
        expected_error: Standard error of the summed expectation from the simulation's size, shape (n,).
        signal: Expected signal events per bin, shape (n,), drawn as a line on its own, not stacked.
        signal_label: Name and size of that signal.
        category: Name of the channel or category, written into the picture.
        vetoes: Ranges that are not searched.
        logarithmic: Whether the axis of events is logarithmic.
        observable_label: With its unit.
        observable: Name of the observable for the table's columns.

    Returns:
        Figure and table: bin edges, each process, and data, pull (data − expected)/√expected where given.

    Raises:
        ValueError: If shapes differ, edges do not ascend, there is nothing to draw, or data are given for a
            picture that is stamped blind.
    """
    borders = as_floats(edges, "edges")
    if borders.ndim != 1 or len(borders) < 2 or not np.all(np.diff(borders) > 0):
        raise ValueError("edges must ascend and bound at least one bin")
    shape = (len(borders) - 1,)
    if data is not None and stamp.blind:
        raise ValueError("data were given for a picture that is stamped blind")
    if data is None and not expected:
        raise ValueError("nothing to draw: neither data nor an expectation")
    stack = {name: as_floats(values, f"expected {name}", shape) for name, values in expected.items()}
    total = np.sum(list(stack.values()), axis=0) if stack else None
    counts = None if data is None else as_floats(data, "data", shape)
    if counts is not None and np.any(counts < 0):
        raise ValueError(f"data count {counts.min():.4g} is negative")

    with_pulls = counts is not None and total is not None
    if with_pulls:
        figure, (axes, lower) = new_panels(2, 1, height=5.8, height_ratios=[3.2, 1], share_x=True)
    else:
        figure, axes = new_figure(7.2, 5.0)
        lower = axes
    middles = (borders[:-1] + borders[1:]) / 2
    table: dict[str, Floats] = {f"{observable}_low": borders[:-1], f"{observable}_high": borders[1:]}
    shown: list[Floats] = []
    if total is not None:
        _draw_stack(axes, borders, stack)
        table |= {f"expected_{name}": values for name, values in stack.items()}
        shown.append(total)
        if expected_error is not None:
            error = as_floats(expected_error, "expected_error", shape)
            table["expected_error"] = error
            axes.stairs(
                total + error,
                borders,
                baseline=total - error,
                fill=True,
                color="none",
                edgecolor="#666666",
                hatch="/////",
                linewidth=0,
                label="Simulation's statistical error",
            )
    if signal is not None:
        signal_events = as_floats(signal, "signal", shape)
        axes.stairs(signal_events, borders, color=VERMILION, linewidth=1.6, label=plain(signal_label))
        table["signal"] = signal_events
        shown.append(np.where(signal_events > 0.05 * np.max(signal_events, initial=0), signal_events, np.nan))
    if counts is not None:
        _draw_data(axes, middles, counts, data_label)
        table["data"] = counts
        shown += [counts, counts + np.where(counts > 0, poisson_interval(counts)[1], 0)]
    axes.set_xlim(borders[0], borders[-1])
    room = 0.1 + 0.06 * ((len(stack) + 3) // 2)
    if logarithmic:
        set_log_y(axes, *[np.where(v > 0, v, np.nan) for v in shown], room_above=room)
    else:
        set_y(axes, np.zeros(1), *shown, room_above=room, room_below=0.0)
    axes.set_ylabel(f"Events / {_bin_width(borders)}")
    gaps = as_vetoes(vetoes)
    mark_vetoes(axes, gaps)
    if with_pulls and counts is not None and total is not None:
        pulls = np.full(shape, np.nan)
        known = total > 0
        pulls[known] = (counts[known] - total[known]) / np.sqrt(total[known])
        table["pull"] = pulls
        lower.stairs(np.nan_to_num(pulls), borders, fill=True, color=BLUE, alpha=0.7, gid="pulls")
        reach = max(3.5, 1.1 * float(np.nanmax(np.abs(pulls), initial=0)))
        lower.set_ylim(-reach, reach)
        lower.axhline(0, color="black", linewidth=0.8)
        for level in (-2, 2):
            lower.axhline(level, color="#999999", linewidth=0.7, linestyle=":")
        lower.set_ylabel("Pull", loc="center")
        mark_vetoes(lower, gaps, labels=False)
    lower.set_xlabel(observable_label)
    handles, labels = axes.get_legend_handles_labels()
    if counts is not None:  # data first
        handles, labels = handles[-1:] + handles[:-1], labels[-1:] + labels[:-1]
    legend = axes.legend(
        handles, labels, loc="upper right", ncols=2, title=plain(category) or None, title_fontsize=10
    )
    stamp_axes(axes, stamp)
    figure.align_ylabels()
    fit_legend(axes, legend)

    alt = f"Spectrum of {observable} from {number(borders[0])} to {number(borders[-1])} GeV"
    alt += f" in {category}" if category else ""
    if total is not None:
        alt += f": {number(float(total.sum()), 4)} events expected from {', '.join(stack)}"
    alt += (
        "; data not shown" if counts is None else f"; {number(float(counts.sum()), 8)} events in {data_label}"
    )
    return Drawing(figure, table, alt + ".")


def _draw_stack(axes: Axes, edges: Floats, stack: Mapping[str, Floats]) -> None:
    below = np.zeros(len(edges) - 1)
    palette = [colour for colour in COLOURS if colour not in (VERMILION, "#000000")]
    for i, (name, values) in enumerate(stack.items()):
        colour = palette[i % len(palette)]
        top = below + values
        axes.stairs(
            top,
            edges,
            baseline=below,
            fill=True,
            facecolor=to_rgba(colour, 0.35),
            edgecolor=colour,
            linewidth=0.8,
            label=plain(name),
            gid=f"expected-{name}",
        )
        below = top


def _draw_data(axes: Axes, middles: Floats, counts: Floats, label: str) -> None:
    many = len(counts) > 150
    seen = counts > 0
    axes.errorbar(
        middles[seen],
        counts[seen],
        poisson_interval(counts[seen]),
        fmt="o",
        color="black",
        markersize=1.8 if many else 3.2,
        linewidth=0.5 if many else 0.9,
        label=plain(label),
        gid="data",
    )


def _bin_width(edges: Floats) -> str:
    widths = np.diff(edges)
    if np.allclose(widths, widths[0], rtol=1e-6):
        width = float(widths[0])
        return f"{number(1000 * width)} MeV" if width < 0.1 else f"{number(width)} GeV"
    return "bin"
