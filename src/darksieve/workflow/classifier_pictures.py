"""Pictures of a run's classifiers: scores by process, ROC by mass, losses of the training."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from darksieve.evaluation.plots import scores, training
from darksieve.evaluation.separation import auc_by_mass, roc_curve
from darksieve.evaluation.signal_shape import position_of
from darksieve.models.scores import Scores
from darksieve.training.history import TrainingHistory
from darksieve.workflow.cascade import bundle_path
from darksieve.workflow.pictures import Pictures

N_ROC_MASSES = 4
ROC_HALF_WIDTH = 0.02  # of the scan: what is within of a mass counts there


def draw_classifiers(pictures: Pictures) -> None:
    """Scores by process, ROC by mass and the training's losses."""
    for classifier in pictures.config.classifiers:
        table = Scores.load(pictures.context.run / "scores" / f"{classifier.name}.parquet")
        _draw_scores(pictures, classifier.name, table)
        _draw_roc(pictures, classifier.name, table)
        history = TrainingHistory.load(bundle_path(pictures.context, classifier) / "training.json")
        folds = {
            fold.fold: training.FoldHistory(
                validation=[e.get("validation_loss", np.nan) for e in fold.epochs],
                training=[e["train_loss"] for e in fold.epochs] if "train_loss" in fold.epochs[0] else None,
            )
            for fold in history.folds
            if fold.epochs
        }
        if folds:
            drawing = training.draw_training(
                folds,
                stamp=pictures.stamp(shows_data=False, luminosity=False),
                epoch_label="Tree" if classifier.model == "bdt" else "Epoch",
            )
            pictures.keep(f"training_{classifier.name}", drawing)


def _draw_scores(pictures: Pictures, name: str, table: Scores) -> None:
    by_process = {}
    signals = []
    process = pictures.processes(table.sample)
    roles = {pictures.config.process_of(n): given.role for n, given in pictures.config.samples.items()}
    for one, role in roles.items():
        rows = (process == one) & (table.is_signal | table.is_background)
        if role in ("signal", "background") and rows.any():
            by_process[one] = (table.score[rows], table.weight[rows])
            if role == "signal":
                signals.append(one)
    stamp = pictures.stamp(shows_data=False, luminosity=False)
    pictures.keep(f"scores_{name}", scores.draw_scores(by_process, stamp=stamp, signals=signals))


def _draw_roc(pictures: Pictures, name: str, table: Scores) -> None:
    low, high = pictures.config.scan.range
    masses = low + (high - low) * (np.arange(N_ROC_MASSES) + 0.5) / N_ROC_MASSES
    half_width = np.full(N_ROC_MASSES, ROC_HALF_WIDTH * (high - low))
    observable = table.observable
    if position_of(pictures.config.scan.observable) == "mass_squared":
        observable = np.sqrt(np.maximum(observable, 0))
    curves: dict[float | str, tuple[ArrayLike, ArrayLike]] = {}
    aucs: dict[float | str, float] = {}
    measured = auc_by_mass(
        table.score,
        table.label,
        observable,
        table.mass,
        table.weight,
        None,
        masses=masses,
        half_width=half_width,
        n_bootstrap=0,
    )
    for mass, half, auc in zip(masses, half_width, measured, strict=True):
        inside = np.abs(observable - mass) < half
        inside &= table.is_background | (table.is_signal & (np.abs(table.mass - mass) < half))
        if not np.isfinite(auc.value):
            continue
        curve = roc_curve(table.score[inside], table.label[inside], table.weight[inside])
        thin = np.unique(np.linspace(0, len(curve.signal_efficiency) - 1, 400).astype(int))
        key = float(np.round(mass, 3))
        curves[key] = (curve.signal_efficiency[thin], curve.background_efficiency[thin])
        aucs[key] = auc.value
    if curves:
        stamp = pictures.stamp(shows_data=False, luminosity=False)
        pictures.keep(f"roc_{name}", scores.draw_roc(curves, stamp=stamp, auc=aucs))
