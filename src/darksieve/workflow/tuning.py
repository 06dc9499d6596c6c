"""Tuning: options of a classifier varied in a persistent Optuna study, judged by the expected limit.

A trial fits the classifier in its folds and asks what limit its score could give at most, integrated over
mass: the mean logarithm of the score's own ceiling, on events that the fold's model has not seen. Such a
number has chosen among trials, so it is no quote; ``darksieve run`` with the chosen options makes that.
"""

from __future__ import annotations

import csv
import math
import multiprocessing
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darksieve.atomic import atomic_path, sha256_of_json, write_json
from darksieve.config import ClassifierConfig, SearchConfig
from darksieve.datasets.events import Events
from darksieve.datasets.shared_events import SharedEvents
from darksieve.errors import InputError, nearest
from darksieve.models.estimator import parse_options
from darksieve.progress import say
from darksieve.run_folder import RunFolder
from darksieve.tracking import Tracker
from darksieve.workflow.cascade import earlier_classifiers, training_rows
from darksieve.workflow.chain import limit_threads
from darksieve.workflow.checks import check_search
from darksieve.workflow.context import Context
from darksieve.workflow.samples import Reading, simulate_samples
from darksieve.workflow.scoring import Simulation, features_of, train_classifier
from darksieve.workflow.search_space import SearchSpace
from darksieve.workflow.tuning_merit import LimitMerit, limit_merit

FORMAT = "darksieve-tuning/1"


@dataclass(frozen=True, eq=False)
class Problem:
    """What every process of a tuning needs.

    Attributes:
        classifier: The classifier's config.
        features: Its features.
        merit: Judges scores.
        space: What is varied.
        settings: Arguments of ``train_bundle`` that stay.
        storage: The study's file.
        study: Its name.
        seed: Of samplers and fits.
        tracking: Experiment, URI and parent run of the trials' runs; None for no tracking.
    """

    classifier: ClassifierConfig
    features: tuple[str, ...]
    merit: LimitMerit
    space: SearchSpace
    settings: Mapping[str, Any]
    storage: Path
    study: str
    seed: int
    tracking: tuple[str, str, str] | None


def tune_classifier(
    config: SearchConfig, output: Path, *, workers: int = 1, n_trials: int | None = None
) -> dict[str, Any]:
    """Run the trials that are missing and write ``tuning/NAME.json`` and ``.csv`` into the run's folder.

    Args:
        config: The search; its ``tuning`` section says what is varied.
        output: The run's folder.
        workers: Processes that run trials at the same time. Which options are tried depends on it, since a
            sampler learns from trials that are finished; each trial's own numbers do not.
        n_trials: Trials in all, those of earlier calls included; the config's by default.

    Returns:
        What was written as JSON.

    Raises:
        InputError: If the config has no such classifier or option, or an input is wrong.
    """
    limit_threads()
    check_search(config)
    classifier = _tuned(config)
    options = parse_options(classifier.model, classifier.options)
    space = SearchSpace(classifier.model, config.tuning.space, options)
    total = n_trials or config.tuning.trials
    with RunFolder.open(output, config.search) as run:
        tracker = Tracker(
            config.search,
            run_name=f"tune {classifier.name}",
            uri=config.tracking.uri,
            run_id=run.manifest.get("mlflow_tuning", {}).get(classifier.name),
            enabled=config.tracking.enabled,
        )
        known = run.manifest.get("mlflow_tuning", {})
        run.record(mlflow_tuning=known | ({classifier.name: tracker.run_id} if tracker.active else {}))
        ended = "FAILED"
        try:
            context = Context(config, run, tracker, workers, unblind=False)
            problem, events = _problem(context, classifier, space)
            _run_trials(problem, events, total, workers)
            document = _write(context, problem)
            tracker.metrics({"mean_log_limit": document["best"]["mean_log_limit"]})
            ended = "FINISHED"
        except KeyboardInterrupt:
            ended = "KILLED"
            raise
        finally:
            tracker.end(ended)
    return document


def _tuned(config: SearchConfig) -> ClassifierConfig:
    if not config.classifiers:
        raise InputError("tuning: the config has no classifiers to tune")
    wanted = config.tuning.classifier
    if wanted is None:
        return config.classifiers[-1]
    names = [classifier.name for classifier in config.classifiers]
    if wanted not in names:
        raise InputError(f"tuning.classifier: {wanted!r} is none of {names}{nearest(wanted, names)}")
    return config.classifiers[names.index(wanted)]


def _problem(context: Context, classifier: ClassifierConfig, space: SearchSpace) -> tuple[Problem, Events]:
    """What is to be solved, and the events that the classifier learns from."""
    config = context.config
    simulate_samples(context)
    features = tuple(f for one in config.classifiers for f in features_of(config, one))
    simulation = Simulation(context, Reading(config, features))
    for earlier in earlier_classifiers(config, classifier):
        train_classifier(context, simulation, earlier)
    everything = simulation.events
    masks = simulation.training_masks(everything)
    rows, _ = training_rows(context, everything, masks, classifier)
    kept = np.flatnonzero(rows)
    if len(kept) > config.memory.max_candidates:
        raise InputError(
            f"tuning: {classifier.name} learns from {len(kept)} candidates, more than memory.max_candidates"
            f" ({config.memory.max_candidates}), and the merit of each trial needs all of them in memory:"
            " raise it if memory is enough, or tune a search with fewer files"
        )
    events = everything.select(kept)
    merit = limit_merit(context, events, {name: mask[kept] for name, mask in masks.items()}, classifier)
    settings = {
        "model": classifier.model,
        "features": features_of(config, classifier),
        "n_folds": classifier.folds,
        "seed": config.seed,
        "mass_column": config.scan.observable if config.candidates.pairings is not None else None,
        "observable": config.scan.observable,
        "matching": classifier.matching,
        "max_rows": _smaller(classifier.max_rows, config.tuning.max_rows),
        "never_features": config.never_features,
        "name": classifier.name,
    }
    identity = [
        simulation.identity,
        classifier.model_dump(mode="json"),
        config.tuning.model_dump(mode="json", exclude={"trials"}),
        config.scan.range,
        config.confidence_level,
        config.seed,
    ]
    folder = context.run / "tuning"
    folder.mkdir(exist_ok=True)
    tracker = context.tracker
    tracking = (config.search, tracker.uri, tracker.run_id) if tracker.active and tracker.run_id else None
    problem = Problem(
        classifier=classifier,
        features=features_of(config, classifier),
        merit=merit,
        space=space,
        settings=settings,
        storage=folder / f"{classifier.name}.db",
        study=f"{classifier.name} {sha256_of_json(identity)[:16]}",
        seed=config.seed,
        tracking=tracking,
    )
    return problem, events


def _smaller(first: int | None, second: int | None) -> int | None:
    known = [number for number in (first, second) if number is not None]
    return min(known) if known else None


def _study(problem: Problem, worker: int) -> Any:
    """The study in its file; every process has a sampler of its own."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{problem.storage}", engine_kwargs={"connect_args": {"timeout": 60}}
    )
    sampler = optuna.samplers.TPESampler(
        seed=int(np.random.SeedSequence([problem.seed, worker]).generate_state(1)[0]),
        n_startup_trials=8,
        constant_liar=True,
    )
    return optuna.create_study(
        study_name=problem.study,
        storage=storage,
        sampler=sampler,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        direction="minimize",
        load_if_exists=True,
    )


def _run_trials(problem: Problem, events: Events, total: int, workers: int) -> None:
    from optuna.trial import TrialState

    study = _study(problem, 0)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # of a process that was killed: the folder is ours
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    done = len(study.get_trials(deepcopy=False, states=ended))
    kept = [t.params for t in study.get_trials(states=(*ended, TrialState.WAITING))]
    for trial in study.get_trials(states=(TrialState.FAIL,)):
        if trial.params and trial.params not in kept:
            study.enqueue_trial(trial.params)
            kept.append(trial.params)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(problem.space.start)
    missing = max(0, total - done)
    say(f"tune {problem.classifier.name}: {done} of {total} trials are done")
    if missing == 0:
        return
    if workers == 1 or missing == 1:
        _work(problem, events, done, missing)
        return
    context = multiprocessing.get_context("spawn")
    shares = [missing // workers + (i < missing % workers) for i in range(workers)]
    for left in problem.storage.parent.glob("events-*"):  # of a tuning that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=problem.storage.parent, prefix="events-") as folder:
        shared = SharedEvents.write(events, Path(folder))
        processes = [
            context.Process(target=_work_on_shared, args=(problem, shared, done + 1000 * i, share))
            for i, share in enumerate(shares)
            if share
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a process of the tuning died; finished trials are kept, the same command resumes")


def _work_on_shared(problem: Problem, events: SharedEvents, worker: int, n_trials: int) -> None:
    _work(problem, events.map(), worker, n_trials)


def _work(problem: Problem, events: Events, worker: int, n_trials: int) -> None:
    study = _study(problem, worker)
    study.optimize(lambda trial: _trial(problem, events, trial), n_trials=n_trials)


def _trial(problem: Problem, events: Events, trial: Any) -> float:
    """One trial: fit fold after fold, and stop where it cannot win."""
    import optuna

    from darksieve.training.decorrelation import Decorrelation
    from darksieve.training.folds_training import train_bundle

    options = problem.space.suggest(trial)
    tracker = None
    if problem.tracking is not None:
        experiment, uri, parent = problem.tracking
        tracker = Tracker(experiment, run_name=f"trial {trial.number}", uri=uri, parent=parent)
        tracker.parameters(asdict(options))
    judge = problem.merit.judge(events, problem.classifier.folds)
    ended = "FAILED"
    value = math.nan

    def on_fold(fold: int, classifier: Any) -> None:
        nonlocal value
        value = judge.with_fold(fold, classifier, problem.features)
        trial.report(value, judge.n_folds_seen)
        if tracker is not None:
            tracker.metrics({"mean_log_limit": value}, judge.n_folds_seen)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        train_bundle(
            events,
            options=options,
            decorrelation=Decorrelation(
                tuple(problem.classifier.decorrelate), **problem.classifier.decorrelation.model_dump()
            ),
            on_fold=on_fold,
            **problem.settings,
        )
        ended = "FINISHED"
    except optuna.TrialPruned:
        ended = "FINISHED"
        if tracker is not None:
            tracker.tags({"pruned": True})
        raise
    finally:
        if tracker is not None:
            tracker.end(ended)
    say(f"tune {problem.classifier.name}: trial {trial.number}: mean log limit {value:.4f}")
    return value


def _write(context: Context, problem: Problem) -> dict[str, Any]:
    """The study's trials as JSON and CSV."""
    from optuna.trial import TrialState

    study = _study(problem, 0)
    rows = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            continue
        options = problem.space.with_values(trial.params)
        varied = {name: getattr(options, name) for name in problem.space.space}
        value = trial.value if trial.state is TrialState.COMPLETE else None
        seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 2)
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "mean_log_limit": value,
                "folds": len(trial.intermediate_values),
                "seconds": seconds,
                "options": {k: list(v) if isinstance(v, tuple) else v for k, v in varied.items()},
            }
        )
    finished = [row for row in rows if row["mean_log_limit"] is not None]
    if not finished:
        raise RuntimeError("tuning: no trial was finished")
    best = min(finished, key=lambda row: row["mean_log_limit"])
    first = finished[0]
    gain = 100 * (1 - math.exp(best["mean_log_limit"] - first["mean_log_limit"]))
    document = {
        "format": FORMAT,
        "classifier": problem.classifier.name,
        "model": problem.classifier.model,
        "objective": "mean log of the score's ceiling over no cut, out of fold; no quote: it has chosen",
        "study": problem.study,
        "first": first,
        "best": best,
        "limit_lower_by_percent": gain,
        "trials": rows,
    }
    name = problem.classifier.name
    write_json(context.run / "tuning" / f"{name}.json", document)
    with (
        atomic_path(context.run / "tuning" / f"{name}.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        columns = ["trial", "state", "mean_log_limit", "folds", "seconds"]
        writer.writerow([*columns, *problem.space.space])
        for row in rows:
            values = [row["options"][key] for key in problem.space.space]
            writer.writerow([*("" if row[c] is None else row[c] for c in columns), *values])
    context.tracker.artifacts(context.run / "tuning" / f"{name}.json")
    position = [c.name for c in context.config.classifiers].index(name)
    chosen = ", ".join(f"{key}: {value}" for key, value in best["options"].items())
    say(f"tune {name}: best trial {best['trial']}, limit {gain:.2f} % lower than with the config's options")
    say(f'  --set "classifiers.{position}.options={{{chosen}}}"')
    return document
