"""How the training went, fold by fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from darksieve.evaluation.plots.style import (
    COLOURS,
    INK,
    Drawing,
    Stamp,
    as_floats,
    new_figure,
    stamp_axes,
    styled,
)


@dataclass(frozen=True)
class FoldHistory:
    """Loss of one fold's training by epoch (or boosting round).

    Attributes:
        training: Loss on the events trained on, shape (n_epochs,); None where it was not recorded.
        validation: Loss on the events held out for stopping, shape (n_epochs,).
        best_epoch: Epoch whose weights are kept, counted from 0; None where it was the last.
    """

    validation: ArrayLike
    training: ArrayLike | None = None
    best_epoch: int | None = None


@styled
def draw_training(
    folds: Mapping[int, FoldHistory],
    *,
    stamp: Stamp,
    loss_label: str = "Loss (binary cross-entropy)",
    epoch_label: str = "Epoch",
) -> Drawing:
    """Training and validation loss against the epoch for every fold, with the epoch that was kept.

    Args:
        folds: Fold -> its history.
        stamp: What stands above the axes.
        loss_label: Label of the axis of losses.
        epoch_label: Epoch, or boosting round.

    Returns:
        Figure and table in long form: fold, epoch, training_loss, validation_loss, kept.

    Raises:
        ValueError: If there is no fold, or the two losses of a fold differ in length.
    """
    if not folds:
        raise ValueError("no fold to draw the training of")
    figure, axes = new_figure(7.2, 4.6)
    columns: dict[str, list[NDArray]] = {
        name: [] for name in ("fold", "epoch", "training_loss", "validation_loss", "kept")
    }
    handles = []
    for i, (fold, history) in enumerate(folds.items()):
        colour = COLOURS[i % len(COLOURS)]
        validation = as_floats(history.validation, f"validation loss of fold {fold}")
        epochs = np.arange(len(validation))
        if history.training is None:
            training = np.full(len(validation), np.nan)
        else:
            training = as_floats(history.training, f"training loss of fold {fold}", validation.shape)
        best = len(validation) - 1 if history.best_epoch is None else history.best_epoch
        axes.plot(epochs, training, "--", color=colour, linewidth=1.0, gid=f"training-{fold}")
        axes.plot(epochs, validation, "-", color=colour, linewidth=1.4, gid=f"validation-{fold}")
        if 0 <= best < len(validation):
            axes.plot(best, validation[best], "o", color=colour, markersize=5, gid=f"kept-{fold}")
        handles.append(Line2D([], [], color=colour, label=f"fold {fold}"))
        columns["fold"].append(np.full(len(epochs), fold))
        columns["epoch"].append(epochs.astype(np.int64))
        columns["training_loss"].append(training)
        columns["validation_loss"].append(validation)
        columns["kept"].append(epochs == best)
    handles += [
        Line2D([], [], color=INK, label="validation"),
        Line2D([], [], color=INK, linestyle="--", linewidth=1.0, label="training"),
        Line2D([], [], color=INK, linestyle="", marker="o", markersize=5, label="kept"),
    ]
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    axes.set_xlabel(epoch_label)
    axes.set_ylabel(loss_label)
    axes.legend(handles=handles, loc="upper right", ncols=2)
    stamp_axes(axes, stamp)
    table = {name: np.concatenate(parts) for name, parts in columns.items()}
    alt = f"Training and validation loss against {epoch_label.lower()} for {len(folds)} folds."
    return Drawing(figure, table, alt)
