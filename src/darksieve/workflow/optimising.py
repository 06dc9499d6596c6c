"""Working points of every channel: chosen on some folds of the events, quoted on the others, in rotation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import write_json
from darksieve.config import SearchConfig
from darksieve.datasets.folds import choice_fold_of
from darksieve.errors import InputError
from darksieve.evaluation.objectives import Objective, make_objective
from darksieve.evaluation.search_building import in_vetoes
from darksieve.evaluation.signal_shape import SignalShape, position_of
from darksieve.models.bundle import attach_working_points
from darksieve.run_folder import StageRecord
from darksieve.workflow.cascade import bundle_path, classifiers_of
from darksieve.workflow.channels import (
    background_of,
    channels_with_background,
    observable_of,
    pooled_shape,
    range_of,
    scan_masses,
    uncertainties_of,
    yield_per_efficiency,
)
from darksieve.workflow.context import Context
from darksieve.workflow.other_merits import add_other_figures_of_merit
from darksieve.workflow.table import CandidateTable

if TYPE_CHECKING:
    from darksieve.evaluation.choosing import Chooser
    from darksieve.evaluation.full_limit import FullLimit
    from darksieve.evaluation.gates import Gates
    from darksieve.evaluation.rotation import Choice

log = logging.getLogger("darksieve")

FORMAT = "darksieve-run-working-points/6"
N_BOOTSTRAP = 25  # an error is known to 14 %
CATEGORIES_COMPARED = 4  # that a threshold is compared with


class ChannelScores:
    """Candidates of one channel as the choice of working points takes them; the observable in GeV of mass."""

    def __init__(self, table: CandidateTable, observable: str) -> None:
        squared = position_of(observable) == "mass_squared"
        self.key = table.key
        self.label = table.label
        self.weight = table.weight
        self.mass = table.mass
        self.observable = np.sqrt(np.maximum(table.observable, 0)) if squared else table.observable
        self.score = table.score


def channels_to_choose_in(config: SearchConfig, table: CandidateTable) -> tuple[str, ...]:
    """Channels whose threshold can be chosen: every fold of the choice has simulated background to judge.

    The others keep every candidate: with so little background no threshold is worth its loss of signal. Where
    score categories are asked for all channels are named, and the choice says what it lacks.
    """
    there = channels_with_background(table)
    if config.working_points.kind != "threshold":
        return there
    n_folds, out = config.working_points.folds, []
    for name in there:
        rows = (table.channel == table.channel_names.index(name)) & table.is_background & (table.weight > 0)
        n_found = len(np.unique(choice_fold_of(table.key[rows], n_folds)))
        if n_found == n_folds:
            out.append(name)
            continue
        log.warning(
            "channel %s: its simulated background, %d candidates, is in %d of %d folds: no threshold can be"
            " chosen, and every candidate is kept",
            name,
            int(rows.sum()),
            n_found,
            n_folds,
        )
    return tuple(out)


def _warn_of_channels_left_out(table: CandidateTable) -> None:
    for name in set(table.channel_names) - set(channels_with_background(table)):
        log.warning(
            "channel %s: no candidate of simulated background passes its selection; its background is not"
            " known, so it takes no part in the fit; simulate more, or loosen channels.%s.select",
            name,
            name,
        )


def choose(context: Context) -> None:
    """Choose the working points of every channel; without a classifier every candidate is kept."""
    config = context.config
    scan = config.scan.model_dump(
        mode="json", include={"observable", "range", "step_sigma", "masses", "vetoes"}
    )
    depends_on = [
        FORMAT,
        context.key("score"),
        config.working_points.model_dump(mode="json"),
        scan,
        config.scan.background.model_dump(mode="json"),
        config.scan.nuisances.model_dump(mode="json"),
        {name: channel.model_dump(mode="json") for name, channel in config.channels.items()},
        config.confidence_level,
        config.linear_parameter,
        config.seed,
    ]

    def work(record: StageRecord) -> str:
        from darksieve.workflow.choice_report import verdicts
        from darksieve.workflow.sculpting import add_sculpting

        table = CandidateTable.load(context.run / "candidates.parquet")
        _warn_of_channels_left_out(table)
        shapes = {channel: pooled_shape(context, table, channel) for channel in config.channels}
        masses = scan_masses(context, shapes)
        document = _document(context, table, shapes, masses)
        write_json(context.run / "working_points.json", document)
        for large, line in verdicts(document):
            log.log(logging.WARNING if large else logging.INFO, "%s", line)
        add_sculpting(context, document)  # reads the categories of candidates from there
        write_json(context.run / "working_points.json", document)
        record.wrote(context.run / "working_points.json")
        boundaries = document["boundaries"] | _kept_whole(context, table, document)
        for classifier in config.classifiers:
            own = {c: b for c, b in boundaries.items() if b["classifier"] == classifier.name}
            attach_working_points(bundle_path(context, classifier), own)
            folder = bundle_path(context, classifier)
            record.wrote(folder / "bundle.json", folder / "working_points.json")
        return summary_of(document, len(masses))

    context.stage("optimise", depends_on, work)


@dataclass(frozen=True, eq=False)
class ChannelChoice:
    """What the choice in one channel starts from."""

    table: CandidateTable
    scores: ChannelScores
    full_limit: FullLimit
    chooser: Chooser
    unit_yield: float
    gates: Gates | None
    uncut: Chooser  # of all candidates of the channel, before the gates
    uncut_table: CandidateTable


def _channel_choice(
    context: Context, table: CandidateTable, channel: str, shape: SignalShape, masses: NDArray[np.float64]
) -> ChannelChoice:
    from darksieve.evaluation.choosing import Chooser, check_kind
    from darksieve.evaluation.full_limit import FullLimit
    from darksieve.evaluation.gates import choose_gates
    from darksieve.workflow.preselecting import cut_variables

    config = context.config
    wanted = config.working_points
    start, end = range_of(context, channel)
    vetoed = in_vetoes(masses, config.scan.vetoes)
    seen = masses[(masses >= start - 1e-9) & (masses <= end + 1e-9) & ~vetoed]
    if not len(seen):
        raise InputError(f"channel {channel}: no mass of the scan lies in its range {start:g} to {end:g} GeV")
    background = background_of(config, channel)
    sizes = uncertainties_of(config).of_selection(channel)
    full = FullLimit(config.confidence_level, background, sizes, peak=shape.parameters)
    limit: Objective = full
    if wanted.objective.startswith("expected_limit"):
        limit = make_objective(wanted.objective, confidence_level=config.confidence_level, full_limit=full)
    own = table.of_channel(channel)
    scores = ChannelScores(own, observable_of(context, channel))

    def chooser_of(candidates: ChannelScores) -> Chooser:
        return Chooser.of(
            candidates,
            seen,
            shape.sigma,
            limit=limit,
            n_folds=wanted.folds,
            min_effective_events=wanted.min_effective_events,
            n_bootstrap=N_BOOTSTRAP,
            seed=config.seed,
        )

    gates = None
    chooser = uncut = chooser_of(scores)
    uncut_table = own
    if len(own.scores) > 1 or wanted.preselection:
        n_categories = check_kind(wanted.kind, wanted.n_categories)
        variables = cut_variables(config.working_points.preselection, own, scores.observable)
        gates = choose_gates(chooser, own.scores, limit, n_categories, variables=variables)
        own = own.select(gates.passed(scores.observable, own.columns, own.key))
        scores = ChannelScores(own, observable_of(context, channel))
        chooser = chooser_of(scores)
    unit_yield = yield_per_efficiency(context, channel)
    return ChannelChoice(own, scores, full, chooser, unit_yield, gates, uncut, uncut_table)


def _selection_of(context: Context, channel: str) -> dict[str, Any]:
    """What of a channel a bundle must know to say which candidates are in it."""
    config = context.config
    return {
        "select": config.channels[channel].select,
        "observable": observable_of(context, channel),
        "period": config.channels[channel].period,
        "classifier": classifiers_of(config, channel)[-1].name,
    }


def _kept_whole(
    context: Context, table: CandidateTable, document: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Channels of the fit in which no cut could be chosen: every candidate is of the one category."""
    return {
        channel: {**_selection_of(context, channel), "gates": None, "keeps_all": True}
        for channel in channels_with_background(table)
        if channel not in document["boundaries"] and classifiers_of(context.config, channel)
    }


def _document(
    context: Context, table: CandidateTable, shapes: Mapping[str, SignalShape], masses: NDArray[np.float64]
) -> dict[str, Any]:
    from darksieve.evaluation.choosing import check_kind, quote
    from darksieve.workflow.comparing import add_comparisons, choices_of, landscape_entry, robustness_entry

    config = context.config
    wanted = config.working_points
    document: dict[str, Any] = {
        "format": FORMAT,
        "kind": wanted.kind if config.classifiers else "none",
        "n_categories": _n_categories(context),
        "objective": wanted.objective,
        "together": wanted.together,
        "confidence_level": config.confidence_level,
        "limit_on": dict(zip(("name", "unit"), config.linear_parameter, strict=True)),
        "limit_model": "full: shapes, floating (flat) background, nuisances; windows without vetoes",
        "masses": masses.tolist(),
        "choice": {},
        "boundaries": {},
        "points": [],
        "comparison": {},
        "comparison_together": None,
        "robustness": {},
        "landscape": {},
        "sculpting": {},
    }
    if not (config.classifiers or wanted.rectangular):
        return document
    used = channels_to_choose_in(config, table) if config.classifiers else channels_with_background(table)
    parts = {channel: _channel_choice(context, table, channel, shapes[channel], masses) for channel in used}
    if not parts:
        return document
    if not config.classifiers:
        uncut = {
            channel: choices_of(part.chooser, part.table, None, None, part.unit_yield, wanted.rectangular)
            for channel, part in parts.items()
        }
        add_comparisons(document, uncut, wanted.rectangular, together=wanted.together)
        return document
    choosers = {channel: part.chooser for channel, part in parts.items()}
    units = {channel: part.unit_yield for channel, part in parts.items()}
    n = check_kind(wanted.kind, wanted.n_categories)
    objectives = _objectives(config, parts)
    thresholds = _choose(config, choosers, objectives, 1, units)
    many = n if n > 1 else CATEGORIES_COMPARED
    categories = _choose(config, choosers, objectives, many, units)
    chosen = thresholds if n == 1 else categories
    compared = {}
    for channel, part in parts.items():
        points = quote(
            part.chooser,
            chosen[channel],
            objectives[channel],
            kind=wanted.kind,
            objective_name=wanted.objective,
            channel=channel,
            confidence_level=config.confidence_level,
            yield_per_efficiency=part.unit_yield,
            limit_unit=config.linear_parameter[1],
            peak_sigma=part.full_limit.peak_sigma,
        )
        entry = points.as_document()
        rows = entry.pop("points")
        add_other_figures_of_merit(rows, document["n_categories"], part.unit_yield)
        document["points"].extend(rows)
        document["choice"][channel] = entry.pop("choice")
        document["boundaries"][channel] = {
            **entry,
            **_selection_of(context, channel),
            "gates": None if part.gates is None else part.gates.to_json(),
        }
        by_threshold, by_category = thresholds[channel], categories[channel]
        compared[channel] = choices_of(
            part.chooser,
            part.uncut_table,
            by_threshold,
            by_category,
            part.unit_yield,
            wanted.rectangular,
            None if part.gates is None else part.uncut,
        )
        document["robustness"][channel] = robustness_entry(
            config, part.chooser, chosen[channel], objectives[channel]
        )
        document["landscape"][channel] = landscape_entry(
            part.scores, part.chooser, by_threshold, by_category, part.full_limit, part.unit_yield
        )
    add_comparisons(document, compared, wanted.rectangular, together=wanted.together)
    return document


def _objectives(config: SearchConfig, parts: Mapping[str, ChannelChoice]) -> dict[str, Objective]:
    """What each channel minimises, with its own model of a limit or, where all are fitted, one for all."""
    # channels that are fitted together share one model: that of the first says how much a yield is worth
    first = next(iter(parts.values())).full_limit
    out = {}
    for channel, part in parts.items():
        full = first if config.working_points.together else part.full_limit
        out[channel] = make_objective(
            config.working_points.objective, confidence_level=config.confidence_level, full_limit=full,
            window_sigma=full.background.window_sigma, background_order=full.background.order,
        )  # fmt: skip
    return out


def _choose(
    config: SearchConfig,
    choosers: Mapping[str, Chooser],
    objectives: Mapping[str, Objective],
    n_categories: int,
    units: Mapping[str, float],
) -> dict[str, list[Choice]]:
    """Boundaries of every channel by fold: for the fit of all of them, or each for its own limit."""
    from darksieve.evaluation.joint_channels import choose_channels

    if config.working_points.together:
        return choose_channels(choosers, next(iter(objectives.values())), n_categories, units)
    out: dict[str, list[Choice]] = {}
    for channel, chooser in choosers.items():
        out |= choose_channels({channel: chooser}, objectives[channel], n_categories, units)
    return out


def _n_categories(context: Context) -> int:
    wanted = context.config.working_points
    return wanted.n_categories if context.config.classifiers and wanted.kind == "categories" else 1


def summary_of(document: Mapping[str, Any], n_masses: int) -> str:
    points = document["points"]
    if not points:
        return f"{n_masses} masses, no classifier: every candidate is kept"
    n = document["n_categories"]
    of_masses = [p["percent_of_ceiling"] for p in points[::n]]
    reached = [percent for percent in of_masses if percent is not None]
    text = f"{n_masses} masses, {n} {document['kind']}"
    if reached:
        text += f", {np.mean(reached):.1f} % of the score's ceiling"
    if len(reached) < len(of_masses):
        few = f"{len(of_masses) - len(reached)} of {len(of_masses)}"
        text += f", next to no simulated background at {few} points: no ceiling there"
    return text
