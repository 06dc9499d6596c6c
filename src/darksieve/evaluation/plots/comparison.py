"""Expected limits of a scan beside published observed ones."""

from __future__ import annotations

import numpy as np

from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    mark_vetoes,
    set_log_y,
)
from darksieve.evaluation.plots.style import (
    BLUE,
    VERMILION,
    Drawing,
    Stamp,
    fit_legend,
    new_figure,
    number,
    stamp_axes,
    styled,
)
from darksieve.evaluation.published import PublishedComparison


@styled
def draw_comparison(
    comparison: PublishedComparison,
    *,
    stamp: Stamp,
    at_equal_luminosity: bool = True,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Ratio of expected to published limits per bin; bars span the published points of a bin.

    Args:
        comparison: From `published.compare_with_published`.
        stamp: What stands above the axes.
        at_equal_luminosity: Whether to add the ratio with the published limit scaled to the luminosity.
        axis: The axis of masses, with the ranges that are not searched.

    Returns:
        Figure and the comparison's table.

    Raises:
        ValueError: If no published bin holds a point of the scan.
    """
    published = comparison.published
    known = comparison.n_scan_points > 0
    if not np.any(known):
        raise ValueError(f"no bin of {published.label} holds a point of the scan with an expected limit")
    figure, axes = new_figure(7.2, 4.6)
    widths = np.stack([published.centre - published.low, published.high - published.centre])[:, known]
    x = published.centre[known]
    ratio = comparison.ratio[known]
    bars = np.stack([ratio - comparison.ratio_low[known], comparison.ratio_high[known] - ratio])
    source = f"{published.label} observed, {number(published.luminosity_fb, 4)} fb$^{{-1}}$"
    axes.errorbar(
        x, ratio, xerr=widths, yerr=bars, fmt="o", color=BLUE, markersize=4, linewidth=0.9,
        label=f"Expected / {source} (digitised; bars: range in the bin)", gid="ratio",
    )  # fmt: skip
    shown = [comparison.ratio_low[known], comparison.ratio_high[known], np.ones(1)]
    if at_equal_luminosity:
        scaled = comparison.ratio_at_equal_luminosity[known]
        axes.errorbar(
            x, scaled, xerr=widths, fmt="s", color=VERMILION, markersize=4, markerfacecolor="white",
            linewidth=0.9, gid="ratio-at-equal-luminosity",
            label=f"published scaled to {number(comparison.luminosity_fb, 4)} fb$^{{-1}}$ by luminosity",
        )  # fmt: skip
        shown.append(scaled)
    axes.axhline(1, color="black", linewidth=0.8)
    edges = np.concatenate([published.low[known], published.high[known]])
    axis.scale_axes(axes, edges)
    set_log_y(axes, *shown, room_above=0.2)
    axes.set_ylabel("Expected / published limit")
    mark_vetoes(axes, axis.gaps)
    legend = axes.legend(loc="upper left")
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)
    alt = (
        f"Expected limits over the published limits of {published.label} in {int(known.sum())} bins of mass:"
        f" {number(float(ratio.min()))} to {number(float(ratio.max()))}."
    )
    return Drawing(figure, comparison.as_table(), alt)
