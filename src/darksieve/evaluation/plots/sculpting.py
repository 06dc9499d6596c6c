"""What a fit finds in background alone after the cuts, against mass, with the error of the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import MASS_LABEL, VetoLike, set_y
from darksieve.evaluation.plots.efficiency import draw_curves, finish
from darksieve.evaluation.plots.style import GREY, Drawing, Floats, Stamp, figure_of, number, styled


@styled
def draw_sculpting(
    masses: ArrayLike,
    in_sigma: Mapping[str, ArrayLike],
    errors: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    worrying: float,
    vetoes: Sequence[VetoLike] = (),
    mass_scale: str = "auto",
    mass_label: str = MASS_LABEL,
) -> Drawing:
    """Spurious signal in standard deviations of the fitted signal.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        in_sigma: Name (all categories together, what the cut itself adds, …) -> spurious signal, NaN where
            simulation is too thin, shape (n,).
        errors: Name -> its error from finite simulation, shape (n,).
        stamp: What stands above the axes.
        worrying: Size that is shaded.
        vetoes: Ranges that are not searched.
        mass_scale: auto, linear or log.
        mass_label: With its unit.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    axes, table, shown, points = draw_curves(masses, in_sigma, errors, "spurious_signal", vetoes)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhspan(-worrying, worrying, color=GREY, alpha=0.15, linewidth=0, label=f"±{number(worrying)} σ")
    bands: list[Floats] = [np.array([-worrying, worrying])]
    for values, error in zip(shown, (table[f"spurious_signal_{n}_error"] for n in in_sigma), strict=True):
        bands += [values - error, values + error]
    n_entries = len(shown) + 1
    set_y(axes, *bands, room_above=0.12 + 0.05 * ((n_entries + 3) // 4))
    axes.set_ylabel("Spurious signal / σ of the fitted signal")
    finish(axes, points, stamp, vetoes, mass_scale, mass_label, n_entries)
    finite = np.concatenate([values[np.isfinite(values)] for values in shown])
    alt = f"Signal that the fit finds in background alone, against mass: {', '.join(in_sigma)}"
    if len(finite):
        alt += f": {number(finite.min())} to {number(finite.max())} standard deviations"
    return Drawing(figure_of(axes), table, alt + ".")
