"""Training and scoring: the bundles of a run, the scores of every event, and the table of candidates."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import sha256_of_json, write_json
from darksieve.config import ClassifierConfig, SearchConfig
from darksieve.datasets.best_candidate import BestCandidate, Multiplicity
from darksieve.datasets.candidates import TRUE_PAIR_COLUMN
from darksieve.datasets.cut_flow import Cut, CutFlow
from darksieve.datasets.events import Events
from darksieve.datasets.mapped_columns import select_rows
from darksieve.datasets.weights import PolicyEffect
from darksieve.errors import InputError
from darksieve.models.bundle import Bundle
from darksieve.progress import bar
from darksieve.run_folder import StageRecord
from darksieve.workflow.cascade import (
    applies_to,
    bundle_path,
    classifiers_of,
    earlier_classifiers,
    score_where_it_applies,
    training_rows,
)
from darksieve.workflow.context import Context, reading_document
from darksieve.workflow.correcting import describe_corrections, identity_of_factors
from darksieve.workflow.fitting import fit_classifier
from darksieve.workflow.reading import Reading, channel_expression
from darksieve.workflow.samples import identity_of_inputs, read_simulation, simulated_names
from darksieve.workflow.sidebands import beside_selection, with_sidebands
from darksieve.workflow.table import CandidateTable, join, table_of_channel
from darksieve.workflow.weighing import describe_weights, scan_windows

log = logging.getLogger("darksieve")
METRICS_FORMAT = "darksieve-metrics/3"  # what metrics.json tells: an earlier one is written anew


def features_of(config: SearchConfig, classifier: ClassifierConfig) -> tuple[str, ...]:
    """The features of a classifier: those of the config, or the kinematics of a photon pair."""
    from darksieve.models.estimator import PHOTON_FEATURES

    if classifier.features is not None:
        return tuple(classifier.features)
    if config.candidates.pairings is not None:
        return PHOTON_FEATURES
    raise InputError(f"classifiers.{classifier.name}.features: a {classifier.model} needs its features named")


class Simulation:
    """Candidates of all simulated samples of a run, read when a stage first needs them."""

    def __init__(self, context: Context, reading: Reading) -> None:
        self.context = context
        self.reading = reading
        self.multiplicities: dict[str, dict[str, Multiplicity]] = {}  # of sample and channel, once read
        self._counts: dict[str, dict[str, tuple[int, int, int]]] = {}  # candidates: all, passing, taken

    @cached_property
    def _read(self) -> tuple[Events, dict[str, CutFlow], dict[str, PolicyEffect]]:
        self._counts = {}
        self.multiplicities = {}
        kept, flows, effects = read_simulation(self.context, self.reading, self._chosen)
        flows = {name: self._with_channels(flow) for name, flow in flows.items()}
        present = {kept.samples[i].name for i in np.unique(kept.sample_index)}
        samples = self.context.config.samples
        with_background = any(samples[name].role == "background" for name in present)
        for name in flows:
            if name in present:
                continue
            message = f"sample {name}: no candidate passes the selection of any channel"
            if samples[name].role != "background" or not with_background:
                raise InputError(f"{message}\n{flows[name]}")
            log.warning("%s; it counts as no background at all", message)
        return kept, flows, effects

    def _chosen(self, events: Events) -> NDArray[np.bool_]:
        """Candidates that a channel takes, of whole events of one sample; they are counted on the way."""
        (info,) = events.samples
        sample = info.name
        passing, taken = self.selected_by_channel(events), self.channel_masks(events)
        chosen = np.zeros(len(events), dtype=bool)
        counts = self._counts.setdefault(sample, {})
        counted = self.multiplicities.setdefault(sample, {})
        for name, mask in taken.items():
            chosen |= mask | self._beside(name, events, passing[name])
            before, passed, best = counts.get(name, (0, 0, 0))
            rows = passing[name]
            counts[name] = (before + len(events), passed + int(rows.sum()), best + int(mask.sum()))
            if self.best is not None:
                more = Multiplicity.of(events, rows, mask, self._truth(sample))
                counted[name] = more + counted[name] if name in counted else more
        return chosen

    def _with_channels(self, flow: CutFlow) -> CutFlow:
        """A sample's cut flow with the steps of each channel, which all start from the same rows."""
        cuts = list(flow.cuts)
        for name, (n_before, n_passing, n_best) in self._counts.get(flow.sample, {}).items():
            cuts.append(Cut(f"channel {name}", n_before, n_passing))
            if self.best is not None:
                cuts.append(Cut(f"channel {name}: best candidate of each event", n_passing, n_best))
        return CutFlow(flow.sample, tuple(cuts))

    def _truth(self, sample: str) -> str | None:
        if self.context.config.samples[sample].role != "signal":
            return None
        paired = self.reading.pairings is not None and self.reading.pairings.true_pair is not None
        return self.reading.truth or (TRUE_PAIR_COLUMN if paired else None)

    @property
    def best(self) -> BestCandidate | None:
        """Which of an event's candidates is kept in each channel; None to keep all."""
        best = self.context.config.candidates.best
        return None if best is None else BestCandidate(best.by, best.keep)

    @property
    def events(self) -> Events:
        """Candidates that a channel selects."""
        return self._read[0]

    @property
    def cut_flows(self) -> dict[str, CutFlow]:
        """Sample -> what each selection left."""
        return self._read[1]

    @property
    def policy_effects(self) -> dict[str, PolicyEffect]:
        """Sample -> what its policy for negative weights changed."""
        return self._read[2]

    def forget(self) -> None:
        """Free the candidates' memory; they are read again if a later stage asks for them."""
        self.__dict__.pop("_read", None)

    def selected_by_channel(self, events: Events) -> dict[str, NDArray[np.bool_]]:
        """Channel -> which candidates pass its selection and are of its period, shape (n,)."""
        masks = {}
        for name, channel in self.context.config.channels.items():
            mask = np.ones(len(events), dtype=bool)
            if channel.select is not None:
                mask = channel_expression(name, channel.select).select(events.columns)
            masks[name] = mask if channel.period is None else mask & events.in_period(channel.period)
        return masks

    def channel_masks(self, events: Events) -> dict[str, NDArray[np.bool_]]:
        """Channel -> which candidates it takes: those it selects, or the best of each event, shape (n,)."""
        masks = self.selected_by_channel(events)
        best = self.best
        return masks if best is None else {name: best.choose(events, rows) for name, rows in masks.items()}

    def _beside(self, name: str, events: Events, selected: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Candidates of a channel's sideband: of the wider selection and not of its own, shape (n,)."""
        mask = beside_selection(name, self.context.config.channels[name], events, selected)
        return mask if self.best is None else self.best.choose(events, mask)

    def sideband_masks(self, events: Events) -> dict[str, NDArray[np.bool_]]:
        """Channel -> which candidates its sideband takes, of each event the best where that is asked."""
        selected = self.selected_by_channel(events)
        return {name: self._beside(name, events, mask) for name, mask in selected.items()}

    def training_masks(self, events: Events) -> dict[str, NDArray[np.bool_]]:
        """Channel -> which candidates teach its classifiers: its own and those of its sideband."""
        beside = self.sideband_masks(events)
        return {name: mask | beside[name] for name, mask in self.channel_masks(events).items()}

    def scores(self, events: Events, bundles: Mapping[str, Bundle]) -> dict[str, NDArray[np.float32]]:
        """Classifier -> out-of-fold scores of the candidates that its channels or their sidebands take.

        NaN for all others.
        """
        config, masks = self.context.config, self.training_masks(events)
        return {
            c.name: score_where_it_applies(bundles[c.name], events, applies_to(config, c, masks))
            for c in config.classifiers
        }

    def table(
        self,
        events: Events,
        scores: Mapping[str, NDArray[np.float32]],
        masks: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> CandidateTable:
        """Candidates that every channel takes, with their scores; or those of other masks by channel."""
        config = self.context.config
        names = tuple(config.channels)
        masks = self.channel_masks(events) if masks is None else masks
        return join(
            table_of_channel(
                events,
                masks[name],
                {c.name: scores[c.name] for c in classifiers_of(config, name)},
                channel=i,
                channel_names=names,
                observable=config.channels[name].observable or config.scan.observable,
                variables=config.working_points.variables,
                families=self.reading.families,
            )
            for i, name in enumerate(names)
        )

    @property
    def identity(self) -> list[Any]:
        """What the candidates depend on, luminosity apart."""
        config = self.context.config
        return [
            identity_of_inputs(self.context, simulated_names(config)),
            identity_of_factors(self.reading.corrections),
            {name: period.model_dump(mode="json") for name, period in config.periods.items()},
            config.candidates.model_dump(mode="json"),
            {
                name: [*channel.selections.items(), channel.period]
                for name, channel in config.channels.items()
            },
            config.beams if isinstance(config.beams, str) else config.beams.model_dump(),
            config.event_key,
            [*self.reading.columns, *self.reading.families],
        ]


def train_classifiers(context: Context, simulation: Simulation) -> None:
    """Fit every classifier in folds; finished folds of a killed run are kept."""
    for classifier in context.config.classifiers:
        train_classifier(context, simulation, classifier)


def train_classifier(context: Context, simulation: Simulation, classifier: ClassifierConfig) -> None:
    """Fit one classifier in folds; those before it must be fitted already."""
    config = context.config
    earlier = earlier_classifiers(config, classifier)
    identity = [
        simulation.identity,
        context.key(*(f"train.{one.name}" for one in earlier)),
        classifier.model_dump(mode="json"),
        config.never_features,
        config.scan.observable,
        config.seed,
        config.memory.model_dump(mode="json"),
    ]

    def work(record: StageRecord) -> str:
        path = bundle_path(context, classifier)
        checkpoints = context.run / "checkpoints" / classifier.name / sha256_of_json(identity)[:16]
        everything = simulation.events
        rows, steps = training_rows(context, everything, simulation.training_masks(everything), classifier)
        events = everything if rows.all() else select_rows(everything, rows, context.run.path)
        record.facts["candidates_to_train_on"] = steps
        for i, sample in enumerate(events.samples):
            own = np.flatnonzero(events.sample_index == i)
            context.tracker.dataset(sample.name, events.digest(own), len(own), sample.role.value)

        def on_epoch(fold: int, epoch: int, losses: Any) -> None:
            context.tracker.metrics(
                {f"{classifier.name}.fold{fold}.{k}": v for k, v in losses.items()}, epoch
            )

        with bar(f"train {classifier.name}") as progress:
            bundle, history = fit_classifier(
                context,
                classifier,
                events,
                features_of(config, classifier),
                simulation.reading.may_be_missing,
                progress=progress,
                on_epoch=on_epoch,
                checkpoint_dir=checkpoints,
            )
        replace(bundle, reading=reading_document(config)).save(path)
        history.save(path / "training.json")
        write_json(context.run / "cut_flow.json", _flows(simulation))
        record.wrote(*sorted(path.glob("fold*")), path / "training.json", context.run / "cut_flow.json")
        aucs = [fold.auc for fold in history.folds if fold.auc is not None]
        return f"{classifier.model}, {len(history.folds)} folds, AUC {np.mean(aucs):.4f} (training's weights)"

    if not (bundle_path(context, classifier) / "bundle.json").is_file():
        context.run.forget(f"train.{classifier.name}")
    context.stage(f"train.{classifier.name}", identity, work)


def _in_scan(config: SearchConfig, events: Events, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which of these candidates lie where a channel scans, shape (n,)."""
    found = np.zeros(len(rows), dtype=bool)
    for channel in config.channels.values():
        low, high = channel.range or config.scan.range
        values = events[channel.observable or config.scan.observable][rows]
        found |= (values >= low) & (values <= high)
    return found


def _flows(simulation: Simulation) -> dict[str, list[dict[str, Any]]]:
    return {name: [vars(cut) for cut in flow.cuts] for name, flow in simulation.cut_flows.items()}


def score_candidates(context: Context, simulation: Simulation) -> None:
    """Score every candidate out of fold and write the table that the later stages start from."""
    config = context.config
    trained = context.key(*(f"train.{classifier.name}" for classifier in config.classifiers))
    depends_on = [
        METRICS_FORMAT,
        simulation.identity,
        trained,
        config.luminosity_fb,
        {name: [channel.observable, channel.range] for name, channel in config.channels.items()},
        [config.scan.observable, config.scan.range],
        list(config.working_points.variables),  # columns of the table
    ]

    def work(record: StageRecord) -> str:
        events = simulation.events
        bundles = {c.name: Bundle.load(bundle_path(context, c)) for c in config.classifiers}
        scores = simulation.scores(events, bundles)
        taken = np.logical_or.reduce(list(simulation.channel_masks(events).values()))
        entries = {
            name: _write_scores(context, bundle, events, np.where(taken, scores[name], np.nan), record)
            for name, bundle in bundles.items()
        }
        of_channels = events if taken.all() else events.select(np.flatnonzero(taken))
        weights = describe_weights(of_channels, scan_windows(config), simulation.policy_effects)
        metrics: dict[str, Any] = {"classifiers": entries, "weights": weights}
        if simulation.reading.corrections:
            metrics["corrections"] = describe_corrections(events, simulation.reading.corrections)
        table = simulation.table(events, scores)
        if any(channel.sideband is not None for channel in config.channels.values()):
            beside = simulation.table(events, scores, simulation.sideband_masks(events))
            table, metrics["sidebands"] = with_sidebands(config, table, beside)
        for name, entry in entries.items():
            _add_spurious_signals(context, table, name, entry["sculpting"])
        write_json(context.run / "metrics.json", metrics)
        if not config.classifiers:
            write_json(context.run / "cut_flow.json", _flows(simulation))
            record.wrote(context.run / "cut_flow.json")
        if simulation.best is not None:
            _keep_multiplicities(context, simulation)
        table.save(context.run / "candidates.parquet")
        record.wrote(context.run / "candidates.parquet", context.run / "metrics.json")
        return f"{len(table)} candidates in {len(config.channels)} channels"

    context.stage("score", depends_on, work)


def _add_spurious_signals(
    context: Context, table: CandidateTable, name: str, sculpting: list[dict[str, Any]]
) -> None:
    """Put into each entry of a classifier's sculpting what the scan's fits find after its threshold."""
    from darksieve.workflow.sculpting import sculpting_of_thresholds

    usable = [entry for entry in sculpting if entry["threshold"] is not None]
    found = sculpting_of_thresholds(context, table, name, [entry["threshold"] for entry in usable])
    for entry, of_channels in zip(usable, found, strict=True):
        entry["spurious_signal"] = of_channels


def _keep_multiplicities(context: Context, simulation: Simulation) -> None:
    """Add candidates per event, before the best is chosen, to metrics.json."""
    path = context.run / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    metrics["candidates"] = {
        sample: {channel: counted.to_json() for channel, counted in of_channels.items()}
        for sample, of_channels in simulation.multiplicities.items()
    }
    write_json(path, metrics)


def _write_scores(
    context: Context,
    bundle: Bundle,
    events: Events,
    score: NDArray[np.float32],
    record: StageRecord,
) -> dict[str, Any]:
    """Write the scores of a classifier; its entry of ``metrics.json``."""
    from darksieve.evaluation.metrics import classifier_metrics
    from darksieve.training.folds_training import SCORE_COLUMNS, score_table

    rows = np.flatnonzero(np.isfinite(score))
    observable = context.config.scan.observable
    few = events.with_only([*SCORE_COLUMNS, observable])
    scores = score_table(few.select(rows), score[rows], bundle, observable=observable)
    path = context.run / "scores" / f"{bundle.name}.parquet"
    scores.save(path)
    config = context.config
    processes = {name: config.process_of(name) for name in config.samples}
    entry = classifier_metrics(
        scores, n_bootstrap=20, seed=config.seed, processes=processes, within=_in_scan(config, events, rows)
    )
    context.tracker.metrics(
        {f"{bundle.name}.auc": entry["auc"], f"{bundle.name}.auc_error": entry["auc_error"]}
    )
    context.tracker.artifacts(context.run / "bundles" / bundle.name, f"bundles/{bundle.name}")
    record.wrote(path)
    return entry
