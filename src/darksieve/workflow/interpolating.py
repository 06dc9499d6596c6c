"""The closure of the networks' interpolation in mass: measured where a config asks for it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import write_json
from darksieve.config import ClassifierConfig, InterpolationConfig, SearchConfig
from darksieve.datasets.candidates import TRUE_PAIR_COLUMN
from darksieve.datasets.events import Events
from darksieve.errors import InputError
from darksieve.evaluation.interpolation import FEWEST_ROWS, N_BINS, close_in_mass, near, nodes_and_tests
from darksieve.evaluation.report import Cell, Figure, Link, ReportSection, Table
from darksieve.models.bundle import Bundle
from darksieve.models.likelihood_ratio import COLUMNS, log_likelihood_ratio
from darksieve.run_folder import StageRecord
from darksieve.workflow.cascade import bundle_path, training_rows
from darksieve.workflow.context import Context
from darksieve.workflow.fitting import fit_classifier
from darksieve.workflow.pictures import Pictures
from darksieve.workflow.scoring import Simulation, features_of

STAGE = "interpolate"
FORMAT = "darksieve-interpolation/1"
DOCUMENT = "interpolation.json"
EXACT, OWN = "exact likelihood ratio", "network trained at all masses"


def conditioned(config: SearchConfig) -> list[ClassifierConfig]:
    """Classifiers that are conditioned on the candidate's own mass."""
    return [c for c in config.classifiers if c.model == "photon_network"]


def check_interpolation(config: SearchConfig) -> None:
    """Refuse a closure that cannot be measured.

    Raises:
        InputError: If no classifier is conditioned on the mass, or the spacing leaves fewer than two masses.
    """
    if config.interpolation is None:
        return
    if not conditioned(config) or config.candidates.pairings is None:
        raise InputError(
            "interpolation: no classifier is conditioned on the mass, as photon networks on pairs of photons"
            " are; leave it out"
        )
    nodes_and_tests(*config.scan.range, config.interpolation.spacing)


def close_interpolation(context: Context, simulation: Simulation) -> None:
    """Write ``interpolation.json`` where the config asks for it."""
    config, asked = context.config, context.config.interpolation
    if asked is None:
        return
    trained = context.key(*(f"train.{c.name}" for c in config.classifiers))

    def work(record: StageRecord) -> str:
        found = {c.name: _closure(context, simulation, c, asked) for c in conditioned(config)}
        write_json(context.run / DOCUMENT, {"format": FORMAT, "classifiers": found})
        record.wrote(context.run / DOCUMENT)
        points = [point for entry in found.values() for point in entry["points"]]
        judged = [point for point in points if point["comparison"] is not None]
        return f"{len(judged)} of {len(points)} masses have candidates enough to be compared at"

    depends_on = [FORMAT, N_BINS, trained, asked.model_dump(mode="json"), list(config.scan.range)]
    context.stage(STAGE, depends_on, work)


def _closure(
    context: Context, simulation: Simulation, classifier: ClassifierConfig, asked: InterpolationConfig
) -> dict[str, Any]:
    config, everything = context.config, simulation.events
    column = config.scan.observable
    nodes, tests = nodes_and_tests(*config.scan.range, asked.spacing)
    rows, _ = training_rows(context, everything, simulation.training_masks(everything), classifier)
    mass = np.asarray(everything[column], np.float64)
    learnt = everything.select(np.flatnonzero(rows & near(mass, nodes, asked.reach)))
    # folds are those of the search, so that candidates at the masses that train are scored by a model, too,
    # which has not seen their events
    bundle, _ = fit_classifier(
        context, classifier, learnt, features_of(config, classifier), simulation.reading.may_be_missing
    )
    wanted = rows & near(mass, [test.mass for test in tests], asked.reach) & _true_pairs(everything)
    events = everything.select(np.flatnonzero(wanted))
    exact = _exact_ratio(context, classifier, events)
    own = Bundle.load(bundle_path(context, classifier)) if exact is None else None
    reference = exact if own is None else np.asarray(own.score(events))
    assert reference is not None
    points = close_in_mass(
        np.asarray(bundle.score(events)),
        reference,
        np.asarray(events[column], np.float64),
        events.label == 1,
        np.asarray(events.weight, np.float64),
        tests,
        reach=asked.reach,
        up_to_mass=exact is not None,
        seed=config.seed,
    )
    return {
        "nodes": nodes,
        "reach": asked.reach,
        "reference": OWN if exact is None else EXACT,
        "n_signal": int((learnt.label == 1).sum()),
        "n_background": int((learnt.label == 0).sum()),
        "points": [point.to_json() for point in points],
    }


def _true_pairs(events: Events) -> NDArray[np.bool_]:
    """Background, and signal in its correct pairing, shape (n,)."""
    if TRUE_PAIR_COLUMN not in events.columns:
        return np.ones(len(events), dtype=bool)
    return (events.label == 0) | events[TRUE_PAIR_COLUMN].astype(bool)


def _exact_ratio(
    context: Context, classifier: ClassifierConfig, events: Events
) -> NDArray[np.float64] | None:
    """ln of the likelihood ratio where both classes are simulated at leading order; None elsewhere."""
    samples = context.config.samples
    names = classifier.samples if classifier.samples is not None else list(samples)
    processes = {
        role: {samples[name].simulate for name in names if samples[name].role == role}
        for role in ("signal", "background")
    }
    known = processes == {"signal": {"gamma_alp"}, "background": {"qed_3gamma"}}
    if not known or not set(COLUMNS) <= set(events.columns):
        return None
    return log_likelihood_ratio({name: events[name] for name in COLUMNS}, sqrt_s=context.beams.sqrt_s)


def interpolation_sections(context: Context, pictures: Pictures) -> list[ReportSection]:
    """The page of the report, where the config asks for it."""
    from darksieve.evaluation.plots.interpolation import draw_closure

    if context.config.interpolation is None:
        return []
    entries = json.loads((context.run / DOCUMENT).read_text(encoding="utf-8"))["classifiers"]
    tables, figures = [], []
    for name, entry in entries.items():
        tables.append(_table(name, entry))
        judged = [point for point in entry["points"] if point["comparison"] is not None]
        if not judged:
            continue
        found = [point["comparison"] for point in judged]
        drawing = draw_closure(
            [point["mass"] for point in judged],
            [point["kind"] for point in judged],
            ([c["auc_loss"] for c in found], [c["auc_loss_error"] for c in found]),
            ([1 - c["limit_ratio"] for c in found], [c["limit_ratio_error"] for c in found]),
            reference=entry["reference"],
            stamp=pictures.stamp(shows_data=False, luminosity=False),
        )
        saved = pictures.keep(f"interpolation_{name}", drawing)
        title = f"Loss of {name} trained at some masses only"
        figures.append(Figure.from_saved(saved, title, relative_to=context.run.path))
    text = (
        "A network of the same options is trained on candidates near a few masses only, and compared there,"
        " midway between them and beyond the last. Both scores are of models that have not seen the events;"
        " background has the signal's masses in each window. A loss that is as large at the masses that train"
        " is that of the smaller training, not of interpolation. The expected limit is that of the score in"
        f" {N_BINS} categories of equal signal where many background events are expected, without systematic"
        " uncertainties."
    )
    return [
        ReportSection(
            "interpolation",
            "Mass interpolation",
            paragraphs=[text],
            tables=tables,
            figures=figures,
            links=[Link(DOCUMENT, DOCUMENT)],
        )
    ]


def _table(name: str, entry: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for point in entry["points"]:
        c = point["comparison"]
        losses: list[Cell] = [None] * 4
        if c is not None:
            losses = [1e3 * c["auc_loss"], 1e3 * c["auc_loss_error"]]
            losses += [100 * (1 - c["limit_ratio"]), 100 * c["limit_ratio_error"]]
        rows.append([point["mass"], point["kind"], point["n_signal"], point["n_background"], *losses])
    nodes = ", ".join(f"{mass:g}" for mass in entry["nodes"])
    return Table(
        f"Classifier {name}, trained within {1000 * entry['reach']:g} MeV of {nodes} GeV, against the"
        f" {entry['reference']}",
        ["mass [GeV]", "where", "signal", "background", "loss of AUC [10⁻³]", "±", "loss of limit [%]", "±"],
        rows,
        digits=3,
        note=(
            f"Trained on {entry['n_signal']} signal and {entry['n_background']} background candidates."
            f" A dash: fewer than {FEWEST_ROWS} candidates of a class. Errors are bootstrap errors."
        ),
    )
