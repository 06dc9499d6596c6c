"""What the classifier's scores look like: distributions by process, ROC curves and AUC against mass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    log_ticks,
    set_log_y,
    set_y,
)
from darksieve.evaluation.plots.style import (
    BLUE,
    COLOURS,
    LINE_STYLES,
    VERMILION,
    Drawing,
    Floats,
    Stamp,
    as_floats,
    fit_legend,
    new_figure,
    number,
    plain,
    stamp_axes,
    styled,
)


def mass_colours(n: int) -> list[tuple[float, float, float, float]]:
    """Colours from dark to light for an ordered series of `n` masses."""
    return [matplotlib.colormaps["viridis"](x) for x in (np.linspace(0.0, 0.85, n) if n > 1 else [0.3])]


@styled
def draw_scores(
    scores: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    stamp: Stamp,
    signals: Sequence[str] = (),
    n_bins: int = 50,
    score_range: tuple[float, float] = (0.0, 1.0),
    normalise: bool = True,
    score_label: str = "Score (out of fold)",
) -> Drawing:
    """Distribution of the score of each process, every event scored by a model that has not seen it.

    Args:
        scores: Process -> (scores, weights), each of shape (n_process,).
        stamp: What stands above the axes.
        signals: Processes drawn as lines over the filled backgrounds.
        n_bins: Number of bins over `score_range`; scores outside go to the outermost bins.
        score_range: Lower and upper end.
        normalise: Whether each process has unit area, else events at the search's luminosity.
        score_label: Label of the axis of scores.

    Returns:
        Figure and table: score_low, score_high and for each process its content and the error of it.

    Raises:
        ValueError: If there is no process, a process's shapes differ or its weights sum to zero when
            normalising, or a score is not finite.
    """
    if not scores:
        raise ValueError("no process to draw the scores of")
    edges = np.linspace(*score_range, n_bins + 1)
    figure, axes = new_figure()
    table: dict[str, Floats] = {"score_low": edges[:-1], "score_high": edges[1:]}
    contents = []
    background_colours = iter([c for c in COLOURS if c != VERMILION] * (len(scores) // 7 + 1))
    signal_styles = iter(LINE_STYLES * (len(scores) // 4 + 1))
    for process, (values, weights) in scores.items():
        s = as_floats(values, f"scores of {process}")
        w = as_floats(weights, f"weights of {process}", s.shape)
        if not np.all(np.isfinite(s)):
            raise ValueError(f"scores of {process}: {int(np.sum(~np.isfinite(s)))} are not finite")
        inside = np.clip(s, edges[0], edges[-1])
        content = np.histogram(inside, edges, weights=w)[0]
        error = np.sqrt(np.histogram(inside, edges, weights=w**2)[0])
        if normalise:
            total = content.sum()
            if not total > 0:
                raise ValueError(f"weights of {process} sum to {total:.4g}: no distribution to normalise")
            content, error = content / total, error / total
        # no event: not drawn, rather than drawn at zero on a logarithmic scale
        shown = np.where(content > 0, content, np.nan)
        if process in signals:
            axes.stairs(
                shown,
                edges,
                color=VERMILION,
                linewidth=1.8,
                linestyle=next(signal_styles),
                label=plain(process),
            )
        else:
            colour = next(background_colours)
            axes.stairs(shown, edges, color=colour, linewidth=1.4, label=plain(process))
            axes.stairs(np.nan_to_num(shown), edges, fill=True, color=colour, alpha=0.13, baseline=1e-300)
        table[f"{process}"] = content
        table[f"{process}_error"] = error
        contents.append(shown)
    axes.set_xlim(edges[0], edges[-1])
    set_log_y(axes, *contents, room_above=0.08 + 0.05 * ((len(scores) + 2) // 3))
    axes.set_xlabel(score_label)
    width = number(edges[1] - edges[0])
    axes.set_ylabel(f"Share of events / {width}" if normalise else f"Events / {width}")
    legend = axes.legend(loc="upper center", ncols=3)
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)
    alt = f"Distributions of the out-of-fold score for {', '.join(scores)}, logarithmic scale."
    return Drawing(figure, table, alt)


@styled
def draw_roc(
    curves: Mapping[float | str, tuple[ArrayLike, ArrayLike]],
    *,
    stamp: Stamp,
    auc: Mapping[float | str, float] | None = None,
) -> Drawing:
    """Background efficiency against signal efficiency, one curve for each mass (or name), out of fold.

    Args:
        curves: Mass in GeV (or a name) -> (signal efficiency, background efficiency), each (n_mass,).
        stamp: What stands above the axes.
        auc: Area under the curve for some of them, for the legend.

    Returns:
        Figure and table in long form: curve, signal_efficiency, background_efficiency.

    Raises:
        ValueError: If there is no curve, shapes differ, or an efficiency is outside [0, 1].
    """
    if not curves:
        raise ValueError("no ROC curve to draw")
    figure, axes = new_figure(6.4, 5.4)
    names: list[str] = []
    signal: list[Floats] = []
    background: list[Floats] = []
    for colour, (key, (signal_efficiency, background_efficiency)) in zip(
        mass_colours(len(curves)), curves.items(), strict=True
    ):
        label = plain(key) if isinstance(key, str) else f"{key:g} GeV"
        x = as_floats(signal_efficiency, f"signal efficiency of {label}")
        y = as_floats(background_efficiency, f"background efficiency of {label}", x.shape)
        slack = 1e-9  # sums of weights are not exact
        if np.any((np.minimum(x, y) < -slack) | (np.maximum(x, y) > 1 + slack)):
            raise ValueError(f"efficiencies of {label} must lie in [0, 1]")
        text = f"{label}, AUC {auc[key]:.4f}" if auc and key in auc else label
        axes.plot(x, np.where(y > 0, y, np.nan), color=colour, label=text)
        names += [str(key)] * len(x)
        signal.append(x)
        background.append(y)
    chance = np.geomspace(1e-5, 1, 200)
    axes.plot(chance, chance, color="#9a9a9a", linewidth=0.9, linestyle=":", label="no separation")
    axes.set_xlim(0, 1)
    all_background = np.concatenate(background)
    shown = all_background[(all_background > 0) & (np.concatenate(signal) > 0.05)]
    low = max(float(shown.min()) if len(shown) else 1e-3, 1e-6)
    axes.set_yscale("log")
    axes.set_ylim(low / 1.3, 1.3)
    log_ticks(axes.yaxis, low / 1.3, 1.3)
    axes.set_xlabel("Signal efficiency (relative to the selected candidates)")
    axes.set_ylabel("Background efficiency")
    axes.legend(loc="lower right", title="Out of fold", title_fontsize=9, alignment="left")
    stamp_axes(axes, stamp)
    table: dict[str, Sequence[str] | Floats] = {
        "curve": names,
        "signal_efficiency": np.concatenate(signal),
        "background_efficiency": all_background,
    }
    alt = f"Background against signal efficiency of the classifier for {', '.join(dict.fromkeys(names))}"
    if auc:
        alt += f"; areas under the curves {number(min(auc.values()), 4)} to {number(max(auc.values()), 4)}"
    return Drawing(figure, table, alt + ".")


@styled
def draw_auc(
    masses: ArrayLike,
    auc: Mapping[str, ArrayLike],
    *,
    stamp: Stamp,
    errors: Mapping[str, ArrayLike] | None = None,
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Area under the ROC curve against mass, for one or several classifiers (or the exact likelihood ratio).

    Args:
        masses: GeV, shape (n,).
        auc: Name -> areas, shape (n,), NaN where there is none.
        stamp: What stands above the axes.
        errors: Name -> standard errors, shape (n,), where known.
        axis: The axis of masses, with the ranges that are not searched.

    Raises:
        ValueError: If there is nothing to draw or shapes differ.
    """
    points = as_floats(masses, "masses")
    if not auc:
        raise ValueError("no AUC to draw")
    figure, axes = new_figure(7.2, 4.4)
    table: dict[str, Floats] = {"mass_gev": points}
    shown = []
    for i, (name, areas) in enumerate(auc.items()):
        values = as_floats(areas, f"AUC of {name}", points.shape)
        table[f"auc_{name}"] = values
        shown.append(values)
        colour = COLOURS[i % len(COLOURS)] if i else BLUE
        format_ = f"{'os^vD'[i % 5]}-"
        look: dict[str, Any] = {"color": colour, "linewidth": 1, "markersize": 4, "label": plain(name)}
        if errors and name in errors:
            error = as_floats(errors[name], f"error of the AUC of {name}", points.shape)
            table[f"auc_{name}_error"] = error
            axes.errorbar(points, values, error, fmt=format_, **look)
        else:
            axes.plot(points, values, format_, **look)
    axis.scale_axes(axes, points)
    set_y(axes, *shown, room_above=0.2)
    axes.set_ylabel("AUC (out of fold)")
    legend = axes.legend(loc="upper center", ncols=3)
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)
    return Drawing(figure, table, f"Area under the ROC curve against mass for {', '.join(auc)}.")
