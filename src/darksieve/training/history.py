"""The history of a training: what each fold saw, and how its losses fell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darksieve.atomic import write_json
from darksieve.errors import InputError
from darksieve.models.estimator import read_json
from darksieve.training.decorrelation import DroppedFeature

FORMAT = "darksieve-training/1"


@dataclass(frozen=True)
class FoldHistory:
    """One fold.

    Attributes:
        fold: Its number; its model has not seen the events of this fold.
        n_signal: Signal rows in the fit.
        n_background: Background rows in the fit.
        n_validation: Rows that stopped the fit early, of both classes.
        epochs: ``train_loss`` and ``validation_loss`` of each epoch (each tree of a BDT).
        matching: Numbers of the mass matching (cap, capped rows, effective events) by column.
        auc: Area under the ROC curve on the fold's own events, with the training's weights; None where the
            fold has only one class.
        seconds: Wall time of the fit.
        reused: The fold was finished in an earlier run.
        fine_tuning: Loss, held-out gain in the mean log expected limit with its error, whether it was
            accepted, and its epochs; None where it was not asked for.
    """

    fold: int
    n_signal: int
    n_background: int
    n_validation: int
    epochs: tuple[Mapping[str, float], ...]
    matching: Mapping[str, Mapping[str, Any]]
    auc: float | None
    seconds: float
    reused: bool = False
    fine_tuning: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TrainingHistory:
    """All folds of one classifier, and the features that were left out before any was fitted."""

    name: str
    folds: tuple[FoldHistory, ...]
    dropped: tuple[DroppedFeature, ...] = ()

    def save(self, path: Path | str) -> None:
        """Write JSON, atomically."""
        folds = [dataclasses.asdict(fold) for fold in self.folds]
        dropped = [feature.to_json() for feature in self.dropped]
        document = {"format": FORMAT, "name": self.name, "folds": folds, "dropped_features": dropped}
        write_json(path, document)

    @classmethod
    def load(cls, path: Path | str) -> TrainingHistory:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is absent or another document.
        """
        document = read_json(Path(path))
        if document.get("format") != FORMAT:
            raise InputError(f"{path}: format {document.get('format')!r} is not {FORMAT!r}")
        folds = (FoldHistory(**fold | {"epochs": tuple(fold["epochs"])}) for fold in document["folds"])
        dropped = (DroppedFeature(**feature) for feature in document.get("dropped_features", []))
        return cls(document["name"], tuple(folds), tuple(dropped))
