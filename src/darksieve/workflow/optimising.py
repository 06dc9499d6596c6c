"""Working points of every channel: chosen on some folds of the events, quoted on the others, in rotation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import write_json
from darksieve.config import BackgroundConfig, SearchConfig
from darksieve.errors import InputError
from darksieve.evaluation.objectives import Objective, asimov_significance, make_objective
from darksieve.evaluation.scan_grid import mass_grid
from darksieve.evaluation.search_building import BackgroundChoice, NamedUncertainty, Uncertainties, in_vetoes
from darksieve.evaluation.signal_shape import SignalShape, fit_signal_shape, position_of
from darksieve.models.bundle import attach_working_points
from darksieve.run_folder import StageRecord
from darksieve.workflow.cascade import bundle_path, classifiers_of
from darksieve.workflow.context import Context
from darksieve.workflow.table import CandidateTable

if TYPE_CHECKING:
    from darksieve.evaluation.choosing import Chooser
    from darksieve.evaluation.full_limit import FullLimit
    from darksieve.evaluation.gates import Gates

log = logging.getLogger("darksieve")

FORMAT = "darksieve-run-working-points/4"
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


def observable_of(context: Context, channel: str) -> str:
    """The observable that a channel scans."""
    return context.config.channels[channel].observable or context.config.scan.observable


def range_of(context: Context, channel: str) -> tuple[float, float]:
    """The hypotheses that a channel sees."""
    low, high = context.config.scan.range
    own = context.config.channels[channel].range
    return (low, high) if own is None else (max(low, own[0]), min(high, own[1]))


def background_choice(background: BackgroundConfig) -> BackgroundChoice:
    """What is fitted, as the library takes it."""
    return BackgroundChoice(background.family, background.order, background.window_sigma)


def background_of(config: SearchConfig, channel: str) -> BackgroundChoice:
    """What is fitted in a channel."""
    return background_choice(config.channels[channel].background or config.scan.background)


def uncertainties_of(config: SearchConfig) -> Uncertainties:
    """Sizes of the nuisances."""
    sizes = config.scan.nuisances
    # what is measured is known only of the working points that are chosen
    spurious = 0.0 if sizes.spurious_signal == "measured" else sizes.spurious_signal
    named = tuple(
        NamedUncertainty(name, one.size, None if one.channels is None else tuple(one.channels), one.sizes)
        for name, one in sizes.named.items()
    )
    return Uncertainties(sizes.luminosity, sizes.efficiency, sizes.width, sizes.scale_sigma, spurious, named)


def pooled_shape(context: Context, table: CandidateTable, channel: str) -> SignalShape:
    """The signal's shape in a channel, all categories together: it sets grid, bins and windows."""
    rows = (table.channel == table.channel_names.index(channel)) & table.is_signal
    if not rows.any():
        raise InputError(
            f"channel {channel}: no signal candidate passes its selection; loosen channels.{channel}"
        )
    return fit_signal_shape(
        table.observable[rows],
        table.mass[rows],
        table.weight[rows],
        position=position_of(observable_of(context, channel)),
        name=f"signal in {channel}",
    )


def channels_with_background(table: CandidateTable) -> tuple[str, ...]:
    """Channels that can be fitted: those in which simulated background is left.

    The background of the others is not known, and a limit that supposes none would be too good.

    Raises:
        InputError: If there are none.
    """
    weight = np.bincount(
        table.channel, table.weight * table.is_background, minlength=len(table.channel_names)
    )
    out = tuple(name for name, total in zip(table.channel_names, weight, strict=True) if total > 0)
    if not out:
        raise InputError(
            "no channel has a candidate of simulated background; simulate more, or loosen the selections"
        )
    return out


def _warn_of_channels_left_out(table: CandidateTable) -> None:
    for name in set(table.channel_names) - set(channels_with_background(table)):
        log.warning(
            "channel %s: no candidate of simulated background passes its selection; its background is not"
            " known, so it takes no part in the fit; simulate more, or loosen channels.%s.select",
            name,
            name,
        )


def scan_masses(context: Context, shapes: Mapping[str, SignalShape]) -> NDArray[np.float64]:
    """All hypotheses of the scan, vetoed ones included, in GeV.

    Raises:
        InputError: If a mass lies outside the simulated signal, or in no channel's range.
    """
    config = context.config
    low, high = config.scan.range
    for channel, shape in shapes.items():
        start, end = range_of(context, channel)
        if start < shape.mass_range[0] - 1e-3 or end > shape.mass_range[1] + 1e-3:
            raise InputError(
                f"scan.range: {start:g} to {end:g} GeV, but the selected signal of channel {channel} covers"
                f" {shape.mass_range[0]:.4g} to {shape.mass_range[1]:.4g} GeV; simulate more, or narrow it"
            )
    if config.scan.masses is not None:
        return np.unique(np.asarray(config.scan.masses, float))
    assert config.scan.step_sigma is not None

    def finest(masses: NDArray[np.float64]) -> NDArray[np.float64]:
        widths = []
        for channel, shape in shapes.items():
            start, end = range_of(context, channel)
            inside = (masses >= start) & (masses <= end)
            widths.append(np.where(inside, shape.sigma(np.clip(masses, *shape.mass_range)), np.inf))
        width = np.min(widths, axis=0)
        if not np.isfinite(width).all():
            gap = masses[~np.isfinite(width)][0]
            raise InputError(f"scan.range: no channel's range holds {gap:.4g} GeV; extend channels.*.range")
        return width

    return mass_grid((low, high), finest, config.scan.step_sigma)


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
        from darksieve.workflow.sculpting import add_sculpting

        table = CandidateTable.load(context.run / "candidates.parquet")
        _warn_of_channels_left_out(table)
        shapes = {channel: pooled_shape(context, table, channel) for channel in config.channels}
        masses = scan_masses(context, shapes)
        document = _document(context, table, shapes, masses)
        write_json(context.run / "working_points.json", document)
        add_sculpting(context, document)  # reads the categories of candidates from there
        write_json(context.run / "working_points.json", document)
        record.wrote(context.run / "working_points.json")
        for classifier in config.classifiers:
            own = {c: b for c, b in document["boundaries"].items() if b["classifier"] == classifier.name}
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
    chooser = chooser_of(scores)
    if len(own.scores) > 1 or wanted.preselection:
        n_categories = check_kind(wanted.kind, wanted.n_categories)
        variables = cut_variables(config.working_points.preselection, own, scores.observable)
        gates = choose_gates(chooser, own.scores, limit, n_categories, variables=variables)
        own = own.select(gates.passed(scores.observable, own.columns, own.key))
        scores = ChannelScores(own, observable_of(context, channel))
        chooser = chooser_of(scores)
    return ChannelChoice(own, scores, full, chooser, yield_per_efficiency(context, channel), gates)


def _document(
    context: Context, table: CandidateTable, shapes: Mapping[str, SignalShape], masses: NDArray[np.float64]
) -> dict[str, Any]:
    from darksieve.evaluation.choosing import check_kind, quote
    from darksieve.evaluation.joint_channels import choose_channels
    from darksieve.workflow.comparing import comparison_entry, landscape_entry, robustness_entry

    config = context.config
    wanted = config.working_points
    document: dict[str, Any] = {
        "format": FORMAT,
        "kind": wanted.kind if config.classifiers else "none",
        "n_categories": _n_categories(context),
        "objective": wanted.objective,
        "confidence_level": config.confidence_level,
        "limit_on": dict(zip(("name", "unit"), config.linear_parameter, strict=True)),
        "limit_model": "full: shapes, floating (flat) background, nuisances; windows without vetoes",
        "masses": masses.tolist(),
        "choice": {},
        "boundaries": {},
        "points": [],
        "comparison": {},
        "robustness": {},
        "landscape": {},
        "sculpting": {},
    }
    if not (config.classifiers or wanted.rectangular):
        return document
    parts = {
        channel: _channel_choice(context, table, channel, shapes[channel], masses)
        for channel in channels_with_background(table)
    }
    if not config.classifiers:
        for channel, part in parts.items():
            document["comparison"][channel] = comparison_entry(
                part.chooser, part.table, None, None, part.unit_yield, wanted.rectangular
            )
        return document
    choosers = {channel: part.chooser for channel, part in parts.items()}
    units = {channel: part.unit_yield for channel, part in parts.items()}
    n = check_kind(wanted.kind, wanted.n_categories)
    # channels that are fitted together share one model: that of the first says how much a yield is worth
    first = next(iter(parts.values())).full_limit
    objective = make_objective(
        wanted.objective, confidence_level=config.confidence_level, full_limit=first,
        window_sigma=first.background.window_sigma, background_order=first.background.order,
    )  # fmt: skip
    thresholds = choose_channels(choosers, objective, 1, units)
    many = n if n > 1 else CATEGORIES_COMPARED
    categories = choose_channels(choosers, objective, many, units)
    chosen = thresholds if n == 1 else categories
    for channel, part in parts.items():
        points = quote(
            part.chooser,
            chosen[channel],
            objective,
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
            "select": config.channels[channel].select,
            "observable": observable_of(context, channel),
            "period": config.channels[channel].period,
            "classifier": classifiers_of(config, channel)[-1].name,
            "gates": None if part.gates is None else part.gates.to_json(),
        }
        by_threshold, by_category = thresholds[channel], categories[channel]
        document["comparison"][channel] = comparison_entry(
            part.chooser, part.table, by_threshold, by_category, part.unit_yield, wanted.rectangular
        )
        document["robustness"][channel] = robustness_entry(config, part.chooser, chosen[channel], objective)
        document["landscape"][channel] = landscape_entry(
            part.scores, part.chooser, by_threshold, by_category, part.full_limit, part.unit_yield
        )
    return document


def add_other_figures_of_merit(rows: list[dict[str, Any]], n_categories: int, unit_yield: float) -> None:
    """Put Punzi's and the Asimov significance's verdict beside the expected limit, all categories together.

    ``punzi_strength`` is the smallest strength that would be discovered at 3 σ or excluded (Punzi's improved
    formula), ``discovery_strength`` that of a median significance of 3 σ with known background, both in
    units of the parameter; ``asimov_significance`` is that of the expected limit. Null without background.

    Args:
        rows: Points of ``working_points.json``, categories of a mass in consecutive rows; changed in place.
        n_categories: Categories of a mass.
        unit_yield: Signal events for one unit of the parameter at full efficiency.
    """
    shape = (len(rows) // n_categories, n_categories)

    def column(name: str) -> NDArray[np.float64]:
        values = [np.nan if row[name] is None else row[name] for row in rows]
        return np.array(values, dtype=float).reshape(shape)

    signal, background = column("signal_efficiency") * unit_yield, column("n_background")
    limit = column("expected_limit")[:, 0]
    usable = (np.isfinite(signal) & np.isfinite(background) & (background > 0) & (signal > 0)).all(axis=1)
    usable &= np.isfinite(limit)
    figures = {name: np.full(shape[0], np.nan) for name in ("punzi_strength", "discovery_strength")}
    figures["asimov_significance"] = np.full(shape[0], np.nan)
    s, b = signal[usable], background[usable]
    figures["punzi_strength"][usable] = make_objective("punzi")(s, b)
    figures["discovery_strength"][usable] = make_objective("discovery_known_background")(s, b)
    at_limit = asimov_significance(s * limit[usable][:, None], b)
    figures["asimov_significance"][usable] = np.sqrt(np.sum(at_limit**2, axis=1))
    for i, row in enumerate(rows):
        for name, values in figures.items():
            value = values[i // n_categories]
            row[name] = float(value) if np.isfinite(value) else None


def _n_categories(context: Context) -> int:
    wanted = context.config.working_points
    return wanted.n_categories if context.config.classifiers and wanted.kind == "categories" else 1


def yield_per_efficiency(context: Context, channel: str) -> float:
    """Signal events for one unit of the linear parameter at full efficiency."""
    config = context.config
    parameter = config.linear_parameter[0]
    secondary = config.channels[channel].secondary_fraction
    if parameter == "cross_section":
        return config.luminosity_fb * secondary
    if parameter == "branching_fraction":
        parents = config.channels[channel].n_parents
        assert parents is not None
        period = config.channels[channel].period
        # the signal's weights add up to the efficiency over all periods; the parents are those of this one
        share = 1.0 if period is None else config.periods[period].luminosity_fb / config.luminosity_fb
        return parents * secondary / share
    return secondary


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
