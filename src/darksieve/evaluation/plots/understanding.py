"""What a classifier knows: worth of its features, their correlations, calibration of its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from darksieve.evaluation.plots.style import (
    BLUE,
    GREY,
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

MOST_FEATURES = 30  # rows of a picture that can still be read


@styled
def draw_importance(
    features: Sequence[str],
    loss: ArrayLike,
    *,
    stamp: Stamp,
    spread: ArrayLike | None = None,
    gain: ArrayLike | None = None,
    loss_label: str = "Loss of AUC when shuffled",
) -> Drawing:
    """Features by what their shuffling loses, the largest first; the table holds all of them.

    Args:
        features: Names, shape (n,).
        loss: Loss of merit, shape (n,).
        stamp: What stands above the axes.
        spread: Standard deviation of the loss, shape (n,).
        gain: Share of the trees' total gain, shape (n,); drawn beside the loss.
        loss_label: Label of the axis, with unit.

    Raises:
        ValueError: If shapes differ or there is no feature.
    """
    if not features:
        raise ValueError("no feature to draw the importance of")
    n = len(features)
    values = as_floats(loss, "loss", (n,))
    errors = np.zeros(n) if spread is None else np.nan_to_num(as_floats(spread, "spread", (n,)))
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    shown = order[:MOST_FEATURES]
    height = 1.6 + 0.21 * len(shown)
    figure, panels = new_panels(1, 1 if gain is None else 2, width=8.2, height=height, share_y=True)
    place = np.arange(len(shown))
    panels[0].barh(place, values[shown], xerr=errors[shown], color=BLUE, ecolor=INK, height=0.7)
    panels[0].axvline(0, color=INK, linewidth=0.8)
    panels[0].set_xlabel(loss_label)
    panels[0].set_yticks(place, [plain(features[i]) for i in shown], fontsize=8.5)
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    panels[0].tick_params(axis="y", which="both", length=0)
    table: dict[str, Any] = {
        "feature": [features[i] for i in order],
        "loss": values[order],
        "loss_spread": np.full(n, np.nan) if spread is None else as_floats(spread, "spread")[order],
    }
    if gain is not None:
        share = as_floats(gain, "gain", (n,))
        panels[1].barh(place, share[shown], color=GREY, height=0.7)
        panels[1].set_xlabel("Share of the trees' gain")
        panels[1].tick_params(axis="y", which="both", length=0)
        table["share_of_gain"] = share[order]
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    stamp_axes(panels[0], stamp, panels[-1])
    best = ", ".join(features[i] for i in order[:3])
    return Drawing(figure, table, f"Loss of merit when a feature is shuffled; the largest: {best}.")


@styled
def draw_rank_correlations(
    matrices: Mapping[str, tuple[Sequence[str], ArrayLike]], *, stamp: Stamp
) -> Drawing:
    """Spearman's coefficients of each class as a map.

    Args:
        matrices: Class -> (names, coefficients of shape (n, n)); all with the same names.
        stamp: What stands above the axes.

    Returns:
        Figure and table in long form: class, first, second, correlation.

    Raises:
        ValueError: If there is no class, or the names differ between classes.
    """
    if not matrices:
        raise ValueError("no correlations to draw")
    names = list(next(iter(matrices.values()))[0])
    n = len(names)
    size = float(np.clip(0.19 * n, 3.4, 9.0))
    figure, panels = new_panels(1, len(matrices), width=1.8 + size * len(matrices), height=size + 1.6)
    table: dict[str, list] = {"class": [], "first": [], "second": [], "correlation": []}
    image = None
    for axes, (label, (own, values)) in zip(panels, matrices.items(), strict=True):
        if list(own) != names:
            raise ValueError("correlations of classes with different columns")
        rows = as_floats(values, f"correlations of {label}", (n, n))
        image = axes.imshow(rows, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        letters = float(np.clip(160 / n, 3.5, 8.5))
        axes.set_xticks(range(n), [plain(name) for name in names], rotation=90, fontsize=letters)
        axes.set_yticks(range(n), [plain(name) for name in names] if axes is panels[0] else [])
        axes.tick_params(axis="both", which="both", length=0, labelsize=letters)
        axes.set_xlabel(label, loc="center")
        for i in range(n):
            table["class"] += [label] * n
            table["first"] += [names[i]] * n
            table["second"] += names
            table["correlation"] += rows[i].tolist()
    assert image is not None
    figure.colorbar(image, ax=panels, shrink=0.8, label="Spearman's ρ", pad=0.02)
    stamp_axes(panels[0], stamp, panels[-1])
    return Drawing(figure, table, f"Rank correlations of {n} columns in {', '.join(matrices)}.")


@styled
def draw_calibration(
    score: ArrayLike, signal_share: ArrayLike, error: ArrayLike, *, stamp: Stamp, expected_error: float,
    before: Mapping[str, Any] | None = None,
) -> Drawing:  # fmt: skip
    """Share of signal against the score, classes at equal weight; the diagonal is a true probability.

    Args:
        score: Mean score of each bin, shape (n,).
        signal_share: Share of signal in it, shape (n,).
        error: Its statistical error, shape (n,).
        stamp: What stands above the axes.
        expected_error: Mean distance from the diagonal.
        before: The same of the score before its calibration: ``score``, ``signal_share``, ``error`` and
            ``expected_error``; None where it is not calibrated.
    """
    x = as_floats(score, "score")
    y = as_floats(signal_share, "signal share", x.shape)
    dy = as_floats(error, "error", x.shape)
    figure, panels = new_panels(2, 1, height=5.8, height_ratios=[3, 1], share_x=True)
    panels[0].plot([0, 1], [0, 1], color=GREY, linewidth=1, label="a true probability")
    curves = [(x, y, dy)]
    if before is not None:
        x0 = as_floats(before["score"], "score before")
        y0 = as_floats(before["signal_share"], "signal share before", x0.shape)
        dy0 = as_floats(before["error"], "error before", x0.shape)
        curves.append((x0, y0, dy0))
        label = f"before the calibration, mean distance {before['expected_error']:.2g}"
        panels[0].errorbar(
            x0, y0, dy0, fmt="s", color=BLUE, markersize=3.5, capsize=0, mfc="none", label=label
        )
        panels[1].errorbar(x0, y0 - x0, dy0, fmt="s", color=BLUE, markersize=3.5, mfc="none")
    label = f"out of fold, mean distance {expected_error:.2g}"
    panels[0].errorbar(x, y, dy, fmt="o", color=VERMILION, markersize=4, capsize=0, label=label)
    panels[0].set_ylabel("Share of signal (equal priors)")
    panels[0].set_ylim(-0.03, 1.03)
    panels[0].legend(loc="upper left")
    panels[1].axhline(0, color=GREY, linewidth=1)
    panels[1].errorbar(x, y - x, dy, fmt="o", color=VERMILION, markersize=4)
    reach = 1.15 * max(float(np.nanmax(np.abs(b - a) + db)) for a, b, db in curves)
    panels[1].set_ylim(-reach, reach)
    panels[1].set_ylabel("Difference", loc="center")
    panels[1].set_xlabel("Score (out of fold)")
    panels[1].set_xlim(0, 1)
    stamp_axes(panels[0], stamp)
    x, y, dy = (np.concatenate(columns) for columns in zip(*curves, strict=True))
    table = {"score": x, "signal_share": y, "signal_share_error": dy}
    if before is not None:
        table["is_calibrated"] = np.repeat([1.0, 0.0], [len(curve[0]) for curve in curves])
    return Drawing(
        figure, table, "Share of signal against the score beside the diagonal of a true probability."
    )


@styled
def draw_overtraining(
    folds: Sequence[int], seen: ArrayLike, seen_error: ArrayLike, unseen: ArrayLike, unseen_error: ArrayLike,
    *, stamp: Stamp,
) -> Drawing:  # fmt: skip
    """Area under the ROC curve of each fold's model on its training events and on the fold left out.

    Args:
        folds: Numbers of the folds, shape (n,).
        seen: Areas on training events, shape (n,).
        seen_error: Their errors.
        unseen: Areas on the fold that was left out.
        unseen_error: Their errors.
        stamp: What stands above the axes.
    """
    n = len(folds)
    columns = [as_floats(v, "areas", (n,)) for v in (seen, seen_error, unseen, unseen_error)]
    figure, axes = new_figure(7.2, 3.8)
    place = np.arange(n)
    axes.errorbar(place - 0.08, columns[0], columns[1], fmt="o", color=GREY, label="training events")
    axes.errorbar(place + 0.08, columns[2], columns[3], fmt="o", color=VERMILION, label="unseen events")
    axes.set_xticks(place, [str(fold) for fold in folds])
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_xlabel("Fold")
    axes.set_ylabel("AUC")
    axes.margins(y=0.35)
    axes.legend(loc="upper right", ncols=2)
    stamp_axes(axes, stamp)
    names = ("auc_training", "auc_training_error", "auc_unseen", "auc_unseen_error")
    table = {"fold": list(folds)} | dict(zip(names, columns, strict=True))
    return Drawing(figure, table, "Area under the ROC curve by fold on training events and on unseen events.")
