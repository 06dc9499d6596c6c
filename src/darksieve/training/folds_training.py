"""Training in folds: every event is scored by a model that has not seen it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.events import Events
from darksieve.datasets.folds import fold_of, part_of
from darksieve.datasets.truth import refuse_truth
from darksieve.errors import InputError, nearest
from darksieve.models.bundle import Bundle, check_features
from darksieve.models.calibration import METHODS as CALIBRATIONS
from darksieve.models.calibration import ScoreCalibration, fit_calibration
from darksieve.models.estimator import (
    PHOTON_FEATURES,
    Classifier,
    Options,
    PhotonNetworkOptions,
    check_own_mass,
    may_be_missing,
    parse_options,
)
from darksieve.models.feature_blocks import FeatureBlocks, feature_matrix
from darksieve.models.scores import EVENT_COLUMNS, Scores
from darksieve.training.decorrelation import Decorrelation, DroppedFeature, features_that_tell
from darksieve.training.fold_fit import FoldTask, OnFoldEpoch, fit_folds, load_fold
from darksieve.training.fold_plan import TRUE_PAIR, FoldPlan, FoldPlanner, digest_of, labelled
from darksieve.training.history import FoldHistory, TrainingHistory
from darksieve.training.mass_matching import Target

_ROWS_AT_ONCE = 262_144
SCORE_COLUMNS = (*EVENT_COLUMNS, TRUE_PAIR)  # that a table of scores is made from, with its observable

Progress = Callable[[float, float], None]  # (done, total)
OnFold = Callable[[int, Classifier], None]


def train_bundle(
    events: Events,
    *,
    model: str,
    features: Sequence[str] | None = None,
    n_folds: int = 5,
    options: Mapping[str, Any] | Options | None = None,
    seed: int = 1,
    mass_column: str | None = "M_gg",
    observable: str | None = None,
    matching: Target = "background_to_signal",
    decorrelation: Decorrelation | None = None,
    matching_cap: float = 20.0,
    max_rows: int | None = None,
    validation_share: float = 0.1,
    never_features: Sequence[str] = (),
    missing: Collection[str] = (),
    calibrate: str = "none",
    name: str = "classifier",
    config_hash: str | None = None,
    fold_salt: int = 0,
    part_salt: int = 0,
    n_threads: int = 1,
    workers: int = 1,
    rows_per_block: int | None = None,
    progress: Progress | None = None,
    on_epoch: OnFoldEpoch | None = None,
    on_fold: OnFold | None = None,
    checkpoint_dir: Path | str | None = None,
) -> tuple[Bundle, Scores, TrainingHistory]:
    """Train one model per fold on the events of the other folds, and score every row out of fold.

    Signal and background enter with equal total weight; within a class by the events' weights, times the
    factors of the matching. Wrong pairings of signal events (``is_true_pair`` false) train neither class but
    are scored. The result depends on the events, not on their order, nor on ``workers``.

    Args:
        events: All rows, of data too.
        model: "bdt" or "photon_network".
        features: Columns; by default the kinematics of a photon pair.
        n_folds: Folds by the hash of the event key, at least 2.
        options: Of the model, as a mapping or its options class.
        mass_column: The candidate's own mass, in which the classes are matched; None for none.
        observable: Column that is scanned; by default ``mass_column``.
        matching: See :func:`match_masses`.
        decorrelation: Variables that the scores shall not tell of, and what is done about it; None for none.
        matching_cap: Greatest factor of a matching over its mean.
        max_rows: Most rows of each class in one fold's fit.
        validation_share: Part of the training events that stops the fit early; 0 for none.
        never_features: More patterns of columns that no classifier may see.
        missing: Columns in which NaN means "missing", which trees learn from and networks refuse.
        calibrate: "isotonic" or "sigmoid" maps each model's probability to one that its own held-out events,
            which are of no fit and not of its fold, bear out (see ``models.calibration``); "none" does not.
        n_threads: Threads of each fit; part of what the numbers depend on.
        workers: Folds fitted at the same time, each in a process of its own; one by one in blocks.
        rows_per_block: The models are fitted from blocks of so many rows, so that the features are never all
            in memory; None for one matrix. In blocks the result depends on the rows' order: of trees in its
            last digits, of networks as on another seed.
        progress: Called with (done, total) as epochs end.
        on_epoch: Called with (fold, epoch, losses).
        on_fold: Called with (fold, its model) when a fold is fitted; what it raises ends the training.
        checkpoint_dir: Where finished folds and the checkpoint of the unfinished are kept. A second call
            with the same events and settings reuses them.

    Raises:
        InputError: If the model, an option or a column is not known, a feature is truth or a mass hypothesis,
            a feature is not finite, a weight is negative, or a fold's training has only one class.
    """
    parsed = parse_options(model, options)
    decorrelation = decorrelation or Decorrelation()
    features = PHOTON_FEATURES if features is None else tuple(features)
    place = f"classifier {name}"
    learnt_missing = tuple(name for name in features if name in missing)
    _check(events, parsed, features, mass_column, place, never_features, learnt_missing)
    if not 2 <= n_folds <= 127:
        raise InputError(f"{place}: folds is {n_folds}; it goes from 2 to 127")
    if rows_per_block is not None and _fine_tunes(parsed):
        raise InputError(
            f"{place}: fine_tune needs its rows in memory, and they are more than memory may hold: bound them"
            " with max_rows, or leave fine_tune out"
        )
    if _fine_tunes(parsed) and validation_share <= 0:
        raise InputError(f"{place}: fine_tune needs held-out events to judge it: give a validation share")
    if calibrate not in CALIBRATIONS:
        known = f"there are {list(CALIBRATIONS)}{nearest(calibrate, CALIBRATIONS)}"
        raise InputError(f"{place}: calibrate is {calibrate!r}; {known}")
    if calibrate != "none" and validation_share <= 0:
        raise InputError(f"{place}: calibrate needs held-out events to fit it on: give a validation share")
    columns = [*([mass_column] if mass_column is not None else []), *decorrelation.variables]
    check_features(events, [*columns, *([observable] if observable is not None else [])], place)
    dropped: tuple[DroppedFeature, ...] = ()
    if decorrelation.uses("dropping"):
        dropped = features_that_tell(events, features, decorrelation, place)
        gone = {drop.feature for drop in dropped}
        features = tuple(feature for feature in features if feature not in gone)
    protected = decorrelation.uses("penalty")
    planner = FoldPlanner(
        events=events,
        fold=fold_of(events.key, n_folds, fold_salt),
        mass_column=mass_column,
        matching=matching,
        decorrelate=decorrelation.uses("planing"),
        matching_cap=matching_cap,
        max_rows=max_rows,
        validation_share=validation_share,
        place=place,
        in_blocks=rows_per_block is not None,
    )
    plans = _Plans(planner, n_folds)
    report = _Report(n_folds, parsed, progress, on_epoch)
    with _folder(checkpoint_dir) as folder:
        reused: dict[int, dict[str, Any]] = {}

        def unfinished() -> Iterator[FoldTask]:
            for plan in plans:
                task = FoldTask(
                    fold=plan.fold,
                    directory=folder / f"fold{plan.fold}",
                    model=model,
                    options=parsed,
                    features=features,
                    seed=int(np.random.SeedSequence(seed, spawn_key=(plan.fold,)).generate_state(1)[0] >> 1),
                    n_threads=n_threads,
                    X=(
                        feature_matrix(events, features, plan.rows)
                        if rows_per_block is None
                        else FeatureBlocks(events, features, plan.rows, rows_per_block)
                    ),
                    y=events.is_signal[plan.rows].astype(np.int8),
                    weight=plan.weight,
                    validation=plan.validation,
                    protected=feature_matrix(events, protected, plan.rows) if protected else None,
                    penalty_strength=decorrelation.strength if protected else 0.0,
                    limit_rows=planner.limit_rows(plan) if _fine_tunes(parsed) else None,
                )
                record = task.finished()
                if record is None:
                    yield task
                else:
                    reused[plan.fold] = record

        fitted: dict[int, dict[str, Any]] = {}
        for k, record in fit_folds(unfinished(), workers if rows_per_block is None else 1, report.epoch):
            fitted[k] = record
            if on_fold is not None:
                on_fold(k, load_fold(folder / f"fold{k}", model))
        classifiers = tuple(load_fold(folder / f"fold{k}", model) for k in range(n_folds))
    report.finish()
    calibrations: tuple[ScoreCalibration, ...] = ()
    if calibrate != "none":
        calibrations = tuple(
            _calibration(
                calibrate, events, features, classifiers[plan.fold], plan, f"{place}, fold {plan.fold}"
            )
            for plan in plans
        )
    ranges = [plan.mass_range for plan in plans if plan.mass_range is not None]
    bundle = Bundle(
        name=name,
        model=model,
        options=parsed,
        features=features,
        classifiers=classifiers,
        schema={column: str(events[column].dtype) for column in features},
        mass_column=mass_column,
        mass_range=(min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None,
        fold_salt=fold_salt,
        data_hash=digest_of(plans, events.key),
        config_hash=config_hash,
        examples=_examples(events, features, next(iter(plans))),
        learnt_missing=learnt_missing,
        calibrations=calibrations,
    )
    score = bundle.score(events)
    history = tuple(
        _history(planner, plan, score, (fitted | reused)[plan.fold], plan.fold in reused) for plan in plans
    )
    scores = score_table(events, score, bundle, observable=observable or mass_column, part_salt=part_salt)
    return bundle, scores, TrainingHistory(name, history, dropped)


def score_table(
    events: Events,
    score: NDArray[np.float32],
    bundle: Bundle,
    *,
    observable: str | None,
    part_salt: int = 0,
) -> Scores:
    """The table of scores of all rows.

    Args:
        score: From ``bundle.score(events)``, shape (n,).
        observable: Column that is scanned; None leaves NaN.
        part_salt: Another salt gives another division into parts.
    """
    label = np.where(labelled(events), events.is_signal.astype(np.float32), np.float32(np.nan))
    return Scores(
        key=events.key,
        candidate=events.candidate,
        sample=events.sample,
        label=label,
        weight=events.weight,
        mass=events.mass,
        observable=np.full(len(events), np.nan) if observable is None else events[observable],
        fold=bundle.fold(events),
        part=part_of(events.key, part_salt),
        score=score,
        is_data=events.is_data,
        event_columns={column: events[column] for column in EVENT_COLUMNS if column in events.columns},
    )


def _fine_tunes(options: Options) -> bool:
    return isinstance(options, PhotonNetworkOptions) and options.fine_tune != "none"


class _Plans:
    """The plans of all folds; of rows that are many, made anew when they are needed."""

    def __init__(self, planner: FoldPlanner, n_folds: int) -> None:
        self._plan = planner.plan
        self._folds = range(n_folds)
        plans = map(self._plan, self._folds)  # what is wrong with one is said before any work
        self._kept = [None if planner.in_blocks else plan for plan in plans]

    def __iter__(self) -> Iterator[FoldPlan]:
        for k, plan in zip(self._folds, self._kept, strict=True):
            yield self._plan(k) if plan is None else plan


class _Report:
    """Counts epochs of all folds for the progress, and passes them on."""

    def __init__(
        self, n_folds: int, options: Options, progress: Progress | None, on_epoch: OnFoldEpoch | None
    ) -> None:
        each = options.epochs if isinstance(options, PhotonNetworkOptions) else options.n_trees
        if isinstance(options, PhotonNetworkOptions) and _fine_tunes(options):
            each += options.fine_tune_epochs
        self.total = n_folds * each
        self.done = 0
        self.progress = progress
        self.on_epoch = on_epoch

    def epoch(self, fold: int, epoch: int, losses: Mapping[str, float]) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
        if self.on_epoch is not None:
            self.on_epoch(fold, epoch, losses)

    def finish(self) -> None:
        if self.progress is not None:
            self.progress(self.total, self.total)


@contextmanager
def _folder(given: Path | str | None) -> Iterator[Path]:
    if given is not None:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory(prefix="darksieve-") as name:
        yield Path(name)


def _examples(events: Events, features: tuple[str, ...], plan: FoldPlan, n: int = 512) -> NDArray[np.float32]:
    """Rows spread over the training of a fold, which keys have shuffled, shape (n, n_features)."""
    rows = plan.rows[np.linspace(0, len(plan.rows) - 1, min(n, len(plan.rows))).astype(int)]
    return np.ascontiguousarray(feature_matrix(events, features, rows))


def _calibration(
    method: str, events: Events, features: tuple[str, ...], model: Classifier, plan: FoldPlan, place: str
) -> ScoreCalibration:
    """Of one fold's model, on the events that its fit held out."""
    held_out = plan.rows[plan.validation]
    score = np.empty(len(held_out), np.float32)
    rising = np.argsort(held_out)
    for part, X in FeatureBlocks(events, features, held_out[rising], _ROWS_AT_ONCE):
        score[rising[part]] = model.predict_proba(X)[:, 1]
    return fit_calibration(
        method,
        score,
        events.is_signal[held_out],
        plan.weight[plan.validation],
        place=place,
    )


def _history(
    planner: FoldPlanner, plan: FoldPlan, score: NDArray[np.float32], record: dict[str, Any], reused: bool
) -> FoldHistory:
    is_signal = planner.events.is_signal[plan.rows]
    return FoldHistory(
        fold=plan.fold,
        n_signal=int(np.count_nonzero(is_signal & ~plan.validation)),
        n_background=int(np.count_nonzero(~is_signal & ~plan.validation)),
        n_validation=int(np.count_nonzero(plan.validation)),
        epochs=tuple(record["epochs"]),
        matching={column: matching.summary() for column, matching in plan.matchings.items()},
        auc=planner.auc(plan, score),
        seconds=record["seconds"],
        reused=reused,
        fine_tuning=record.get("fine_tuning") or None,
    )


def _check(
    events: Events,
    options: Options,
    features: tuple[str, ...],
    mass_column: str | None,
    place: str,
    never_features: Sequence[str],
    learnt_missing: tuple[str, ...],
) -> None:
    if not features:
        raise InputError(f"{place}: no features")
    repeated = sorted({name for name in features if features.count(name) > 1})
    if repeated:
        raise InputError(f"{place}: features {repeated} appear twice")
    refuse_truth(features, never_features)
    if isinstance(options, PhotonNetworkOptions):
        check_own_mass(features, options.mass_feature)
    own = may_be_missing(options, features)
    check_features(events, features, place, (*own, *learnt_missing))
    networks = isinstance(options, PhotonNetworkOptions)
    for feature in [name for name in learnt_missing if name not in own] if networks else ():
        n_missing = int(np.count_nonzero(np.isnan(events[feature])))
        if n_missing:
            raise InputError(
                f"{place}: feature {feature!r} is missing in {n_missing} of {len(events)} rows, and this"
                " network takes no missing values; leave it out, select those rows away, or use a bdt"
            )
    if not (np.isfinite(events.weight).all() and (events.weight >= 0).all()):
        n_bad = int(np.count_nonzero(~(events.weight >= 0) | ~np.isfinite(events.weight)))
        raise InputError(
            f"{place}: {n_bad} of {len(events)} weights are negative or not finite; a classifier trains on"
            " weights >= 0: say negative_weights: drop or rescale for their sample"
        )
    signal = np.flatnonzero(events.is_signal & labelled(events))
    masses = events.mass[signal]
    for feature in features if mass_column is not None else ():
        # Whatever its name, a column that is the generated mass is a hypothesis beside the measured mass.
        same = np.isclose(events[feature][signal], masses, rtol=1e-6, atol=0)
        if feature != mass_column and len(signal) and same.mean() > 0.999:
            raise InputError(
                f"{place}: feature {feature!r} is the signal's generated mass; a mass hypothesis beside the"
                " reconstructed mass carves a peak out of any background: leave it out"
            )
