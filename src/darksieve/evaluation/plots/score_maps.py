"""Maps of what a score says: by mass and by feature, and how sure its ensemble is of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.style import (
    BLUE,
    INK,
    VERMILION,
    Drawing,
    Stamp,
    as_floats,
    new_figure,
    new_panels,
    plain,
    stamp_axes,
    styled,
)

MOST_CURVES = 6  # features of a picture of curves that can still be told apart
_COLOURS = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", INK)


@styled
def draw_limit_importance(
    masses: ArrayLike,
    features: Sequence[str],
    rise: ArrayLike,
    *,
    stamp: Stamp,
    spread: ArrayLike | None = None,
) -> Drawing:
    """Rise of the expected limit by mass when a feature is shuffled; the table holds all features.

    Args:
        masses: GeV, shape (n_masses,).
        features: Names, shape (n,).
        rise: Relative rise of the limit, shape (n, n_masses); NaN where it is not known.
        stamp: What stands above the axes.
        spread: Standard deviation over shufflings, same shape.

    Raises:
        ValueError: If shapes differ or there is no feature.
    """
    if not features:
        raise ValueError("no feature to draw the importance of")
    x = as_floats(masses, "masses")
    shape = (len(features), len(x))
    values = as_floats(rise, "rise", shape)
    errors = np.full(shape, np.nan) if spread is None else as_floats(spread, "spread", shape)
    known = np.isfinite(values)
    means = np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    order = np.argsort(-means, kind="stable")
    figure, axes = new_figure(7.2, 4.6)
    for colour, i in zip(_COLOURS, order[:MOST_CURVES], strict=False):
        axes.plot(x, 100 * values[i], color=colour, marker="o", markersize=3, label=plain(features[i]))
        low, high = 100 * (values[i] - errors[i]), 100 * (values[i] + errors[i])
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("Mass [GeV]")
    axes.set_ylabel("Rise of the expected limit\nwhen shuffled [%]")
    axes.margins(y=0.25)
    axes.legend(loc="upper right", ncols=2)
    stamp_axes(axes, stamp)
    table: dict[str, Any] = {
        "feature": [features[i] for i in order for _ in x],
        "mass_gev": np.tile(x, len(order)),
        "rise": values[order].ravel(),
        "rise_spread": errors[order].ravel(),
    }
    first = ", ".join(features[i] for i in order[:3])
    return Drawing(figure, table, f"Rise of the expected limit when a feature is shuffled; most by {first}.")


@styled
def draw_score_maps(maps: Mapping[str, Mapping[str, Any]], *, x: str, y: str, stamp: Stamp) -> Drawing:
    """Mean score of each class in cells of two variables.

    Args:
        maps: Class -> ``ScoreMap.to_json()``.
        x, y: Labels of the axes, with units.
        stamp: What stands above the axes.

    Raises:
        ValueError: If there is no map.
    """
    if not maps:
        raise ValueError("no map to draw")
    figure, panels = new_panels(1, len(maps), width=1.2 + 4.2 * len(maps), height=4.4, share_y=True)
    table: dict[str, list] = {
        "class": [],
        "x_low": [],
        "y_low": [],
        "mean_score": [],
        "error": [],
        "rows": [],
    }
    image = None
    for axes, (label, found) in zip(panels, maps.items(), strict=True):
        x_edges, y_edges = np.asarray(found["x_edges"]), np.asarray(found["y_edges"])
        means = np.array(found["mean"], np.float64)  # (n_x, n_y)
        image = axes.pcolormesh(x_edges, y_edges, means.T, vmin=0, vmax=1, cmap="viridis")
        axes.set_xlabel(f"{plain(label)}: {plain(x)}")
        n = means.size
        table["class"] += [label] * n
        table["x_low"] += np.repeat(x_edges[:-1], len(y_edges) - 1).tolist()
        table["y_low"] += np.tile(y_edges[:-1], len(x_edges) - 1).tolist()
        table["mean_score"] += means.ravel().tolist()
        table["error"] += np.array(found["error"], np.float64).ravel().tolist()
        table["rows"] += np.array(found["rows"]).ravel().tolist()
    panels[0].set_ylabel(plain(y))
    assert image is not None
    figure.colorbar(image, ax=panels, label="Mean score (out of fold)", pad=0.02)
    stamp_axes(panels[0], stamp, panels[-1])
    return Drawing(figure, table, f"Mean score of {', '.join(maps)} against {x} and {y}.")


@styled
def draw_score_spread(spreads: Mapping[str, Mapping[str, ArrayLike]], *, stamp: Stamp) -> Drawing:
    """Standard deviation of the score among the folds' models, against their mean.

    Args:
        spreads: Class -> ``ScoreSpread.to_json()``.
        stamp: What stands above the axes.

    Raises:
        ValueError: If there is no class.
    """
    if not spreads:
        raise ValueError("no spread to draw")
    figure, axes = new_figure(7.2, 4.2)
    table: dict[str, list] = {"class": [], "score": [], "median_spread": [], "upper_spread": [], "rows": []}
    for colour, (label, found) in zip((BLUE, VERMILION), spreads.items(), strict=False):
        score = as_floats(found["score"], "score")
        median = as_floats(found["median"], "median", score.shape)
        upper = as_floats(found["upper"], "upper", score.shape)
        axes.plot(score, median, color=colour, marker="o", markersize=4, label=f"{plain(label)}, median")
        axes.plot(score, upper, color=colour, linestyle="--", label=f"{plain(label)}, 84 % of rows below")
        table["class"] += [label] * len(score)
        table["score"] += score.tolist()
        table["median_spread"] += median.tolist()
        table["upper_spread"] += upper.tolist()
        table["rows"] += list(np.asarray(found["rows"]))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.4 * max(1e-6, *table["upper_spread"]))
    axes.set_xlabel("Mean score of the folds' models")
    axes.set_ylabel("Standard deviation among them")
    axes.legend(loc="upper right", ncols=2)
    stamp_axes(axes, stamp)
    return Drawing(figure, table, "Spread of the score among the models of the folds against their mean.")
