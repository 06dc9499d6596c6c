"""One classifier of a config, fitted: the search's own, and those that show what it knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darksieve.atomic import sha256_of_json
from darksieve.config import ClassifierConfig
from darksieve.datasets.events import Events
from darksieve.datasets.mapped_columns import on_disk
from darksieve.models.bundle import Bundle
from darksieve.models.feature_blocks import ROWS_PER_BLOCK
from darksieve.progress import Progress
from darksieve.workflow.context import Context

if TYPE_CHECKING:
    from darksieve.training.fold_fit import OnFoldEpoch
    from darksieve.training.history import TrainingHistory


def fit_classifier(
    context: Context,
    classifier: ClassifierConfig,
    events: Events,
    features: Sequence[str],
    may_be_missing: Collection[str],
    *,
    progress: Progress | None = None,
    on_epoch: OnFoldEpoch | None = None,
    checkpoint_dir: Path | None = None,
) -> tuple[Bundle, TrainingHistory]:
    """A classifier of the config, fitted in folds on these candidates.

    Args:
        may_be_missing: Columns in which NaN means "missing".
    """
    from darksieve.training.decorrelation import Decorrelation
    from darksieve.training.folds_training import train_bundle

    config = context.config
    bundle, _, history = train_bundle(
        events,
        model=classifier.model,
        features=features,
        n_folds=classifier.folds,
        options=classifier.options,
        seed=config.seed,
        mass_column=config.scan.observable if config.candidates.pairings is not None else None,
        observable=config.scan.observable,
        matching=classifier.matching,
        decorrelation=Decorrelation(tuple(classifier.decorrelate), **classifier.decorrelation.model_dump()),
        max_rows=classifier.max_rows,
        never_features=config.never_features,
        missing=may_be_missing,
        calibrate=classifier.calibrate,
        name=classifier.name,
        config_hash=sha256_of_json(classifier.model_dump(mode="json")),
        workers=min(context.workers, 2),
        rows_per_block=ROWS_PER_BLOCK if _in_blocks(context, classifier, events) else None,
        progress=progress,
        on_epoch=on_epoch,
        checkpoint_dir=checkpoint_dir,
    )
    return bundle, history


def _in_blocks(context: Context, classifier: ClassifierConfig, events: Events) -> bool:
    """Whether a classifier is fitted from blocks: a network is not where few rows of each class train it."""
    few = classifier.max_rows is not None and 2 * classifier.max_rows <= context.config.memory.max_candidates
    return on_disk(events) and not (few and classifier.model == "photon_network")
