"""Curves of a simulation's validation: what was simulated as points, what it should be as lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darksieve.datasets.simulation.validation import Curve, Series
from darksieve.evaluation.plots.axes import log_ticks
from darksieve.evaluation.plots.style import (
    COLOURS,
    INK,
    LINE_STYLES,
    Drawing,
    Floats,
    Stamp,
    fit_legend,
    new_figure,
    plain,
    stamp_axes,
    styled,
)


def _common_table(series: Sequence[Series]) -> dict[str, list[str] | Floats]:
    """All series below each other: their name, x, y and error."""
    names: list[str] = []
    x, y, errors = [], [], []
    for one in series:
        names += [one.label] * len(one.x)
        x.append(np.array(one.x))
        y.append(np.array(one.y))
        errors.append(np.full(len(one.x), np.nan) if one.errors is None else np.array(one.errors))
    return {
        "series": names,
        "x": np.concatenate(x),
        "y": np.concatenate(y),
        "error": np.concatenate(errors),
    }


@styled
def draw_validation(curve: Curve, *, stamp: Stamp) -> Drawing:
    """One picture of a validation; series with errors are points, the others lines.

    Raises:
        ValueError: If no series has a point.
    """
    drawn = [one for one in curve.series if np.isfinite(one.y).any()]
    if not drawn:
        raise ValueError(f"validation {curve.name!r}: nothing to draw")
    figure, axes = new_figure(7.2, 4.6)
    n_lines = n_points = 0
    for one in drawn:
        if one.errors is None:
            style = LINE_STYLES[n_lines % len(LINE_STYLES)]
            axes.plot(one.x, one.y, style, color=COLOURS[n_lines % len(COLOURS)], label=plain(one.label))
            n_lines += 1
            continue
        colour = INK if n_points == 0 else COLOURS[(n_points + 1) % len(COLOURS)]
        axes.errorbar(
            one.x,
            one.y,
            yerr=one.errors,
            fmt="o",
            markersize=4,
            color=colour,
            label=plain(one.label),
            zorder=3,
        )
        n_points += 1
    values = {axis: np.concatenate([np.array(getattr(one, axis)) for one in drawn]) for axis in ("x", "y")}
    for name, is_log in (("x", curve.log_x), ("y", curve.log_y)):
        if not is_log:
            continue
        positive = values[name][np.isfinite(values[name]) & (values[name] > 0)]
        getattr(axes, f"set_{name}scale")("log")
        log_ticks(getattr(axes, f"{name}axis"), float(positive.min()), float(positive.max()))
    if not curve.log_y:
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.15 * float(np.nanmax(values["y"])))
    axes.set_xlabel(curve.x_label)
    axes.set_ylabel(curve.y_label)
    stamp_axes(axes, stamp)
    fit_legend(axes, axes.legend(loc="best"))
    return Drawing(figure, _common_table(drawn), curve.alt)
