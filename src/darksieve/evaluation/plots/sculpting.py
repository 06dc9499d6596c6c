"""What a fit finds in background alone after the cuts, against mass, with the error of the simulation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    set_y,
)
from darksieve.evaluation.plots.curves import draw_curves, finish, room_above
from darksieve.evaluation.plots.style import GREY, Drawing, Floats, Stamp, figure_of, number, styled


@styled
def draw_sculpting(
    masses: ArrayLike,
    in_sigma: Mapping[str, ArrayLike],
    errors: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    worrying: float,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Spurious signal in standard deviations of the fitted signal.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        in_sigma: Name (all categories together, what the cut itself adds, …) -> spurious signal, NaN where
            simulation is too thin, shape (n,).
        errors: Name -> its error from finite simulation, shape (n,).
        stamp: What stands above the axes.
        worrying: Size that is shaded.
        axis: The axis of masses, with the ranges that are not searched.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, in_sigma, errors, "spurious_signal", axis)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhspan(-worrying, worrying, color=GREY, alpha=0.15, linewidth=0, label=f"±{number(worrying)} σ")
    bands: list[Floats] = [np.array([-worrying, worrying])]
    for values, error in zip(shown, (table[f"spurious_signal_{n}_error"] for n in in_sigma), strict=True):
        bands += [values - error, values + error]
    n_entries = len(shown) + 1
    set_y(axes, *bands, room_above=room_above(n_entries))
    axes.set_ylabel("Spurious signal / σ of the fitted signal")
    finish(axes, points, stamp, axis, n_entries)
    finite = np.concatenate([values[np.isfinite(values)] for values in shown])
    alt = f"Signal that the fit finds in background alone, against mass: {', '.join(in_sigma)}"
    if len(finite):
        alt += f": {number(finite.min())} to {number(finite.max())} standard deviations"
    return Drawing(figure_of(axes), table, alt + ".")
