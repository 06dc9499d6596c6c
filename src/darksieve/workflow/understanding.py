"""What the classifiers of a run know: importance, correlations, calibration and overtraining, as numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import write_json
from darksieve.config import ClassifierConfig
from darksieve.datasets.events import Events
from darksieve.evaluation.calibration import calibration_curve
from darksieve.evaluation.correlations import RankCorrelations, rank_correlations
from darksieve.evaluation.importance import permutation_importance
from darksieve.evaluation.leakage import FEWEST_ROWS, measure_leakage
from darksieve.evaluation.overtraining import measure_overtraining
from darksieve.evaluation.report import Cell, Table
from darksieve.evaluation.score_maps import score_map, score_spread
from darksieve.evaluation.separation import weighted_auc
from darksieve.models.bundle import Bundle
from darksieve.models.feature_blocks import feature_matrix
from darksieve.run_folder import StageRecord
from darksieve.training.mass_matching import match_masses
from darksieve.workflow.cascade import bundle_path, training_rows
from darksieve.workflow.context import Context
from darksieve.workflow.limit_worth import draw_limit_worth, limit_worth, limit_worth_tables
from darksieve.workflow.pictures import Pictures
from darksieve.workflow.scoring import Simulation

FORMAT = "darksieve-understanding/3"
DOCUMENT = "understanding.json"
HELICITY = "cosHelicity"  # where a search has it, scores are mapped against it
log = logging.getLogger("darksieve")
MAX_ROWS = 20_000  # of each class: an AUC of 0.95 then has an error of 0.001, and a run of minutes stays one


def understand_classifiers(context: Context, simulation: Simulation) -> None:
    """Write ``understanding.json``; every event is scored by a model that has not seen it."""
    config = context.config
    trained = context.key(*(f"train.{classifier.name}" for classifier in config.classifiers))

    def work(record: StageRecord) -> str:
        document: dict[str, Any] = {"format": FORMAT, "max_rows_of_a_class": MAX_ROWS, "classifiers": {}}
        for classifier in config.classifiers:
            events = simulation.events
            masks = simulation.channel_masks(events)
            rows, _ = training_rows(context, events, simulation.training_masks(events), classifier)
            learnt = np.flatnonzero(rows)
            inside = np.logical_or.reduce(list(masks.values()))[learnt]
            sampled, kept = _sampled(events.select(learnt), inside)
            own_masks = {name: mask[learnt[kept]] for name, mask in masks.items()}
            document["classifiers"][classifier.name] = _understand(context, sampled, own_masks, classifier)
        write_json(context.run / DOCUMENT, document)
        record.wrote(context.run / DOCUMENT)
        return f"{len(config.classifiers)} classifiers: importance, correlations, calibration, overtraining"

    if config.classifiers:
        scan = config.scan.model_dump(mode="json", include={"observable", "range", "masses", "vetoes"})
        context.stage("understand", [FORMAT, trained, MAX_ROWS, scan, config.confidence_level], work)


def _sampled(events: Events, inside: NDArray[np.bool_]) -> tuple[Events, NDArray[np.intp]]:
    """At most ``MAX_ROWS`` of each class, by the hash of their event, and their rows.

    Candidates of channels come before those of sidebands; each part keeps the weight of all of it, since
    limits depend on it.
    """
    parts, factor, label = [], np.ones(len(events)), events.label
    for value in (0, 1):
        left = MAX_ROWS
        for part in (inside, ~inside):
            rows = np.flatnonzero((label == value) & (events.weight > 0) & part)
            kept = rows[np.argsort(events.key[rows], kind="stable")[:left]]
            if len(kept):
                factor[kept] = events.weight[rows].sum() / events.weight[kept].sum()
            left -= len(kept)
            parts.append(kept)
    some = np.sort(np.concatenate(parts))
    sampled = events.select(some)
    return sampled.with_weight(sampled.weight * factor[some]), some


def _understand(
    context: Context,
    some: Events,
    masks: Mapping[str, NDArray[np.bool_]],
    classifier: ClassifierConfig,
) -> dict[str, Any]:
    bundle = Bundle.load(bundle_path(context, classifier))
    of_search = some
    label, score = some.label, bundle.score(some)
    if bundle.mass_column is not None:  # a conditioned score is asked about classes of one mass distribution
        mass = some[bundle.mass_column]
        matching = match_masses(mass, label == 1, some.weight, target=classifier.matching)
        some = some.with_weight(some.weight * matching.factor(mass, label == 1))
    weight = some.weight

    def merit(scores: NDArray) -> float:
        return weighted_auc(scores, label, weight)

    worth = permutation_importance(
        some, bundle.features, bundle.score, merit, within=bundle.mass_column, seed=context.config.seed
    )
    gains = [getattr(model, "feature_importances_", None) for model in bundle.classifiers]
    known = [g for g in gains if g is not None]
    gain = np.mean(known, axis=0).tolist() if len(known) == len(gains) else None
    watched = [v for v in (*classifier.decorrelate, context.config.scan.observable) if v in some.columns]
    names = list(dict.fromkeys([*bundle.features, *watched]))
    scored = some.with_columns(score=score)
    by_worth = [feature.feature for feature in sorted(worth, key=lambda f: -float(f.loss[0]))]
    return {
        "limit_importance": limit_worth(context, of_search, masks, classifier, bundle, by_worth),
        "maps": _maps(some, score, bundle.mass_column or context.config.scan.observable),
        "ensemble": _spread(bundle, some),
        "auc": merit(score),
        "importance": [feature.to_json() for feature in worth],
        "share_of_gain": gain,
        "correlations": {
            of_class: rank_correlations(
                scored.select(np.flatnonzero(label == value)), [*names, "score"]
            ).to_json()
            for of_class, value in (("background", 0), ("signal", 1))
        },
        "calibration": calibration_curve(score, label, weight).to_json(),
        "calibration_before": (
            calibration_curve(bundle.uncalibrated().score(some), label, weight).to_json()
            if bundle.calibrations
            else None
        ),
        "overtraining": _overtraining(bundle, some, label, context.config.seed),
        "leakage": _leakage(context, bundle, some, watched, classifier),
    }


def _leakage(
    context: Context,
    bundle: Bundle,
    events: Events,
    variables: Sequence[str],
    classifier: ClassifierConfig,
) -> list[dict[str, Any]]:
    """What the features tell of each variable that is scanned or fitted; said aloud where it is much.

    A model that is conditioned on its candidate's mass is meant to know it: its classes have one distribution
    of it.
    """
    rows = np.flatnonzero((events.label == 0) & (events.weight > 0))
    found = []
    for variable in dict.fromkeys(variables):
        if bundle.mass_column is not None and variable == context.config.scan.observable:
            continue
        usable = rows[np.isfinite(np.asarray(events[variable][rows], np.float64))]
        if len(usable) < FEWEST_ROWS:
            log.warning(
                "%s: too few background events to see whether features tell %s", bundle.name, variable
            )
            continue
        X = feature_matrix(events, bundle.features, usable)
        leakage = measure_leakage(
            X, bundle.features, events[variable][usable], variable, seed=context.config.seed
        )
        found.append(leakage.to_json())
        if leakage.leaks:
            named = ", ".join(f"{name} ({value:.2f})" for name, value in leakage.features[:3])
            log.warning(
                "classifier %s: its features tell %s in background (rank correlation %.2f ± %.2f of a"
                " regression, on other events); a cut on its score may carve a peak or an edge; the most by"
                " themselves: %s; %s",
                bundle.name,
                variable,
                leakage.together,
                leakage.error,
                named,
                "what decorrelation left of it is in the report's spurious signals"
                if variable in classifier.decorrelate
                else f"leave them out, or name {variable} in decorrelate",
            )
    return found


def _classes(events: Events) -> dict[str, NDArray[np.intp]]:
    return {name: np.flatnonzero(events.label == value) for name, value in (("background", 0), ("signal", 1))}


def _maps(events: Events, score: NDArray, mass: str) -> dict[str, Any]:
    """Class -> map of the score against mass and helicity; empty where a search has no such columns."""
    if HELICITY not in events.columns or mass not in events.columns:
        return {}
    x, y = (np.asarray(events[name], np.float64) for name in (mass, HELICITY))
    low, high = np.quantile(x[events.label == 1], [0.001, 0.999])
    edges = {"x_edges": np.linspace(low, high, 21), "y_edges": np.linspace(min(0.0, y.min()), 1.0, 11)}
    found = {"x": f"{mass} [GeV]", "y": HELICITY}
    return found | {
        "classes": {
            name: score_map(score[rows], x[rows], y[rows], events.weight[rows], **edges).to_json()
            for name, rows in _classes(events).items()
        }
    }


def _spread(bundle: Bundle, events: Events) -> dict[str, Any]:
    """Class -> spread of the score among the folds' models; all but one of them have seen these events."""
    mean, spread = bundle.ensemble(events)
    return {name: score_spread(mean[rows], spread[rows]).to_json() for name, rows in _classes(events).items()}


def _overtraining(bundle: Bundle, events: Events, label: NDArray, seed: int) -> list[dict[str, Any]]:
    fold = bundle.fold(events)
    everything = feature_matrix(events, bundle.features, np.arange(len(events)))
    found = []
    for k, model in enumerate(bundle.classifiers):
        score = model.predict_proba(everything)[:, 1]
        parts = []
        for rows in (np.flatnonzero(fold != k), np.flatnonzero(fold == k)):
            parts.append((score[rows], label[rows], events.weight[rows], events.key[rows]))
        if all((of_part[1] == value).any() for of_part in parts for value in (0, 1)):
            found.append(measure_overtraining(k, parts[0], parts[1], seed=seed).to_json())
    return found


def load_understanding(context: Context) -> Mapping[str, Any]:
    """Classifier -> its entry; empty without classifiers."""
    path = context.run / DOCUMENT
    if not context.config.classifiers or not path.is_file():
        return {}
    entries: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["classifiers"]
    return entries


def draw_understanding(pictures: Pictures) -> None:
    """The pictures of every classifier: importance, correlations, calibration and overtraining."""
    from darksieve.evaluation.plots import score_maps as maps
    from darksieve.evaluation.plots import understanding as plots

    stamp = pictures.stamp(shows_data=False, luminosity=False)
    for name, entry in load_understanding(pictures.context).items():
        worth = entry["importance"]
        drawing = plots.draw_importance(
            [feature["feature"] for feature in worth],
            [feature["loss"][0] for feature in worth],
            stamp=stamp,
            gain=entry["share_of_gain"],
        )
        pictures.keep(f"importance_{name}", drawing)
        matrices = {k: RankCorrelations.from_json(v) for k, v in entry["correlations"].items()}
        drawing = plots.draw_rank_correlations(
            {k: (m.names, m.values) for k, m in matrices.items()}, stamp=stamp
        )
        pictures.keep(f"correlations_{name}", drawing)
        curve = entry["calibration"]
        drawing = plots.draw_calibration(
            curve["score"],
            curve["signal_share"],
            curve["error"],
            stamp=stamp,
            expected_error=curve["expected_error"],
            before=entry["calibration_before"],
        )
        pictures.keep(f"calibration_{name}", drawing)
        draw_limit_worth(pictures, name, entry["limit_importance"], stamp)
        if entry["maps"]:
            of_classes, x, y = (entry["maps"][key] for key in ("classes", "x", "y"))
            pictures.keep(f"score_map_{name}", maps.draw_score_maps(of_classes, x=x, y=y, stamp=stamp))
        pictures.keep(f"score_spread_{name}", maps.draw_score_spread(entry["ensemble"], stamp=stamp))
        folds = entry["overtraining"]
        if folds:
            areas = [
                [fold[key] for fold in folds]
                for key in ("auc_training", "auc_training_error", "auc_unseen", "auc_unseen_error")
            ]
            drawing = plots.draw_overtraining([fold["fold"] for fold in folds], *areas, stamp=stamp)
            pictures.keep(f"overtraining_{name}", drawing)


def limit_importance_tables(context: Context) -> list[Table]:
    """What each feature buys of the limit, for each classifier and channel."""
    entries = load_understanding(context).items()
    return [table for name, entry in entries for table in limit_worth_tables(name, entry["limit_importance"])]


def leakage_tables(context: Context) -> list[Table]:
    """One table of what the features of all classifiers tell of the scanned and fitted variables."""
    rows: list[list[Cell]] = []
    for name, entry in load_understanding(context).items():
        for found in entry["leakage"]:
            most = ", ".join(f"{feature} {value:.2f}" for feature, value in found["features"][:3])
            verdict = "LEAKS" if found["leaks"] else "no"
            told = f"{found['together']:.3f} ± {found['error']:.3f}"
            rows.append([name, found["variable"], told, verdict, most])
    if not rows:
        return []
    columns = ["classifier", "variable", "told by all features", "leak", "most by themselves"]
    title = "What the features tell of scanned and fitted variables in background (rank correlations)"
    return [Table(title, columns, rows)]


def overtraining_tables(context: Context) -> list[Table]:
    """One table for each classifier, a row for each fold."""
    columns = [
        "fold left out",
        "AUC, training",
        "AUC, unseen",
        "difference in σ",
        "KS p, signal",
        "KS p, background",
    ]
    keys = ("fold", "auc_training", "auc_unseen", "difference_in_errors", "p_signal", "p_background")
    tables = []
    for name, entry in load_understanding(context).items():
        rows: list[list[Cell]] = [[fold[key] for key in keys] for fold in entry["overtraining"]]
        tables.append(Table(f"Classifier {name} on its training events and on unseen ones", columns, rows))
    return tables
