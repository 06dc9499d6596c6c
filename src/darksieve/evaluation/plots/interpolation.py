"""Closure of the interpolation in mass: losses of AUC and of expected limit by mass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.style import (
    BLUE,
    GREY,
    INK,
    VERMILION,
    Drawing,
    Stamp,
    as_floats,
    fit_legend,
    new_panels,
    plain,
    stamp_axes,
    styled,
)

_STYLES = {  # kind: label, marker, colour, filled
    "trained": ("at masses that train", "o", BLUE, True),
    "between": ("midway between", "o", VERMILION, False),
    "beyond": ("beyond the last of them", "s", GREY, False),
}


@styled
def draw_closure(
    masses: ArrayLike,
    kinds: Sequence[str],
    auc_loss: tuple[ArrayLike, ArrayLike],
    limit_loss: tuple[ArrayLike, ArrayLike],
    *,
    reference: str,
    stamp: Stamp,
) -> Drawing:
    """Losses of a score that was trained at some masses, with their errors.

    Args:
        masses: GeV, shape (n,).
        kinds: ``trained``, ``between`` or ``beyond``, shape (n,).
        auc_loss: Loss of AUC and its error, shape (n,) each.
        limit_loss: Relative loss of expected limit and its error, shape (n,) each.
        reference: What it is compared with.
        stamp: What stands above the axes.

    Raises:
        ValueError: If shapes differ or there is no mass.
    """
    mass = np.asarray(masses, dtype=np.float64)
    if not len(mass):
        raise ValueError("no mass to draw the closure at")
    shape = (len(mass),)
    losses = [
        tuple(factor * as_floats(values, name, shape) for values in both)
        for factor, name, both in ((1e3, "auc_loss", auc_loss), (1e2, "limit_loss", limit_loss))
    ]
    figure, panels = new_panels(2, 1, width=7.2, height=6.0, share_x=True)
    labels = (r"Loss of AUC [$10^{-3}$]", "Loss of expected limit [%]")
    for axes, (values, errors), label in zip(panels, losses, labels, strict=True):
        axes.axhline(0, color=INK, linewidth=0.8)
        for kind, (name, marker, colour, filled) in _STYLES.items():
            rows = np.array([own == kind for own in kinds])
            if rows.any():
                axes.errorbar(
                    mass[rows], values[rows], yerr=errors[rows], fmt=marker, color=colour, markersize=5,
                    markerfacecolor=colour if filled else "white", label=name, zorder=3,
                )  # fmt: skip
        axes.set_ylabel(label)
    panels[1].set_xlabel("Mass [GeV]")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    legend = panels[0].legend(title=plain(f"against {reference}"), loc="upper center", ncols=3)
    fit_legend(panels[0], legend)
    stamp_axes(panels[0], stamp)
    table: dict[str, Any] = {
        "mass_gev": mass,
        "kind": list(kinds),
        "auc_loss": losses[0][0] / 1e3,
        "auc_loss_error": losses[0][1] / 1e3,
        "limit_loss": losses[1][0] / 1e2,
        "limit_loss_error": losses[1][1] / 1e2,
    }
    worst = int(np.nanargmax(losses[0][0]))
    alt = (
        f"Losses of AUC and of expected limit against {reference} at {len(mass)} masses; the largest of AUC,"
        f" {losses[0][0][worst]:.2g} thousandths, at {mass[worst]:.3g} GeV."
    )
    return Drawing(figure, table, alt)
