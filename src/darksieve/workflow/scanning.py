"""The scan: from categories to the search document, its data once unblinded, and the limits."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import write_json
from darksieve.config import SampleConfig
from darksieve.errors import InputError
from darksieve.evaluation.full_limit import FullLimit
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.pseudo_data import (
    EVENTS_LABEL,
    ExpectedSpectrum,
    Injection,
    PseudoData,
    draw_pseudo_data,
    inject_signal,
    nearby_signal,
)
from darksieve.evaluation.scan_channels import (
    smooth_backgrounds,
)
from darksieve.evaluation.search_building import (
    ScanChannel,
    build_search_model,
    with_counts,
)
from darksieve.evaluation.signal_shape import peak_slope
from darksieve.models.bundle import Bundle
from darksieve.models.scores import Scores, join_scores
from darksieve.progress import bar
from darksieve.run_folder import StageRecord
from darksieve.training.folds_training import score_table
from darksieve.workflow.cascade import bundle_path
from darksieve.workflow.categorising import load_choice, load_points
from darksieve.workflow.channels import (
    background_choice,
    uncertainties_of,
)
from darksieve.workflow.context import Context
from darksieve.workflow.correcting import identity_of_variations, load_corrections
from darksieve.workflow.fits import Fit, fits_of
from darksieve.workflow.interpreting import interpret
from darksieve.workflow.peaking import known_peaks, whole_peaks
from darksieve.workflow.samples import (
    described_sample,
    identity_of_inputs,
    sample_chunks,
    simulate_sample,
    simulated_path,
    simulated_sample,
)
from darksieve.workflow.scan_inputs import ScanInputs, scan_inputs
from darksieve.workflow.scoring import Simulation
from darksieve.workflow.spurious_sizes import with_measured_sizes
from darksieve.workflow.tail_quoting import tail_spread_of, tail_summary, with_tails

log = logging.getLogger("darksieve")

DATA_LABEL = "data"
DATA_SCORES = "data."  # before a classifier's name: scores of data, which a blind run does not keep
LIMIT_FILES = (("limits", ".json"), ("limits", ".csv"))
PSEUDO_DATA = "pseudo_data"  # name of the simulated sample that stands in for data


def scan(context: Context, simulation: Simulation) -> None:
    """Write the search document and the limits: expected ones, and observed ones once unblinded."""
    config = context.config
    data_samples = [name for name, sample in config.samples.items() if sample.role == "data"]
    if context.unblind and not data_samples and _draws_events(context):
        _simulate_pseudo_data(context)
    depends_on = [
        context.key("optimise"),
        config.scan.model_dump(mode="json"),
        config.confidence_level,
        config.interpretation.model_dump(
            mode="json", include={"parameter", "also", "prompt_mm", "fold_flight"}
        ),
        {name: channel.hadron for name, channel in config.channels.items()},
        {
            name: sample.model_dump(mode="json", include={"peaking"})
            for name, sample in config.samples.items()
        },
        config.seed,
        context.unblind,
        identity_of_variations(load_corrections(config)),
    ]
    if context.unblind:
        depends_on.append(config.pseudo_data.model_dump(mode="json"))
        depends_on.append(identity_of_inputs(context, data_samples))
        if not data_samples and _draws_events(context):
            depends_on.append(context.key(f"simulate.{PSEUDO_DATA}"))

    def work(record: StageRecord) -> str:
        masses, inputs = scan_inputs(context)
        observed: PseudoData | None = None
        if context.unblind:
            observed = _observe(context, simulation, inputs, data_samples, record)
        else:  # of an earlier run that looked
            for path in (context.run / "scores").glob(f"{DATA_SCORES}*.parquet"):
                path.unlink()
        _remove_other_fits(context)
        counts = None if observed is None else observed.counts
        present = {given.name for given in inputs}
        fits = [fit for fit in fits_of(config) if present & set(fit.channels)]
        curves = {fit.name: _fit(context, fit, inputs, counts, masses, record) for fit in fits}
        curve = curves[None]
        write_json(context.run / "interpretation.json", interpret(config, curve, context.beams.sqrt_s))
        label = None if observed is None else observed.label
        injection = None
        if observed is not None and observed.injection is not None:
            injection = {"mass": observed.injection.mass, "strength": observed.injection.strength}
        write_json(
            context.run / "data.json", {"blind": observed is None, "label": label, "injected": injection}
        )
        record.wrote(
            context.run / "interpretation.json",
            context.run / "data.json",
        )
        return _summary(curve)

    context.stage("scan", depends_on, work)


def _fit(
    context: Context,
    fit: Fit,
    inputs: list[ScanInputs],
    counts: Mapping[str, NDArray] | None,
    masses: NDArray[np.float64],
    record: StageRecord,
) -> LimitCurve:
    """Write the document and the limits of one fit."""
    config = context.config
    model = _document(context, fit, inputs, masses, counts)
    with bar("scan" if fit.name is None else f"scan {fit.name}") as progress:
        curve = answer_documents(
            [model],
            confidence_level=config.confidence_level,
            method=config.scan.method,
            n_toys=config.scan.toys,
            seed=config.seed,
            progress=progress,
        )
    points = load_points(context)
    if points:
        pairs = ((given.name, channel) for given in inputs for channel in given.channels)
        full = FullLimit(
            confidence_level=config.confidence_level,
            background=background_choice(config.scan.background),
            uncertainties=uncertainties_of(config),
        )
        spread = tail_spread_of(fit.select(config, pairs), points, masses, full.shortcut())
        curve = with_tails(curve, masses, spread)
    _warn_of_empty_windows(fit, model)
    paths = [context.run / fit.file_name(*name) for name in (("search", ".json"), *LIMIT_FILES)]
    model.save(paths[0])
    for path in paths[1:]:
        curve.save(path)
    record.wrote(*paths)
    return curve


def _warn_of_empty_windows(fit: Fit, model: SearchModel) -> None:
    """Say which hypotheses no channel can be fitted at."""
    empty = [f"{point.mass:.4g}" for point in model.points if point.status == "no_signal"]
    if empty:
        what = "the fit" if fit.name is None else f"the fit {fit.name}"
        log.warning(
            "%s has no limit at %s GeV: no channel's range, or no bin of a window beside the vetoes, is left",
            what,
            ", ".join(empty) if len(empty) <= 5 else f"{empty[0]} … {empty[-1]} ({len(empty)} masses)",
        )


def _remove_other_fits(context: Context) -> None:
    """Take away what an earlier config's fits of some channels left."""
    for stem, suffix in (("search", ".json"), *LIMIT_FILES):
        for path in context.run.path.glob(f"{stem}_*{suffix}"):
            path.unlink()


def _document(
    context: Context,
    fit: Fit,
    inputs: list[ScanInputs],
    masses: NDArray[np.float64],
    counts: Mapping[str, NDArray] | None = None,
) -> SearchModel:
    config = context.config
    pairs = ((given.name, channel) for given in inputs for channel in given.channels)
    channels = with_counts(fit.select(config, pairs), counts)
    model = build_search_model(
        channels,
        masses,
        parameter=config.linear_parameter,
        background=background_choice(config.scan.background),
        uncertainties=uncertainties_of(config),
        vetoes=config.scan.vetoes,
    )
    if config.scan.nuisances.spurious_signal != "measured":
        return model
    return with_measured_sizes(model, load_choice(context)[0])


def _summary(curve: LimitCurve) -> str:
    states = [point.status for point in curve.points]
    done = sum(point.succeeded for point in curve.points)
    text = f"{done} limits, {states.count('vetoed')} vetoed, {states.count('failed')} failed"
    expected = curve.expected()
    if np.isfinite(expected).any():
        unit = "" if curve.parameter.unit == "1" else f" {curve.parameter.unit}"
        text += f", median expected {np.nanmedian(expected):.3g}{unit}"
    if curve.global_ is not None and curve.global_.mass is not None:
        text += f"; largest excess at {curve.global_.mass:.3f} GeV, global p = {curve.global_.p_global:.2g}"
    return text + tail_summary(curve)


def _draws_events(context: Context) -> bool:
    pseudo = context.config.pseudo_data
    return pseudo.simulate is not None and context.config.luminosity_fb <= pseudo.events_up_to_fb


def _pseudo_sample(context: Context) -> SampleConfig:
    pseudo = context.config.pseudo_data
    return SampleConfig(role="data", simulate=pseudo.simulate, settings=pseudo.settings)


def injected_strength(context: Context) -> float | None:
    """Strength of the injected signal in units of the parameter; None where there is none.

    A strength in expected limits is taken from a blind scan of the injected mass alone.
    """
    inject = context.config.pseudo_data.inject
    if inject is None:
        return None
    low, high = context.config.scan.range
    if not low <= inject.mass <= high:
        raise InputError(
            f"pseudo_data.inject.mass: {inject.mass} GeV is outside the scan, {low} to {high} GeV"
        )
    if inject.strength is not None:
        return inject.strength
    _, inputs = scan_inputs(context)
    model = _document(context, fits_of(context.config)[0], inputs, np.array([inject.mass]))
    curve = answer_documents(
        [model], confidence_level=context.config.confidence_level, method=context.config.scan.method
    )
    expected = float(curve.expected()[0])
    if not np.isfinite(expected):
        raise InputError(
            f"pseudo_data.inject.mass: no expected limit at {inject.mass} GeV ({curve.points[0].status})"
        )
    times = inject.times_expected_limit if inject.times_expected_limit is not None else 3.0
    return times * expected


def _simulate_pseudo_data(context: Context) -> None:
    from darksieve.datasets.simulation.production import Injection as InjectedSignal

    pseudo = context.config.pseudo_data
    strength = injected_strength(context)
    injected = None
    if strength is not None and pseudo.inject is not None:
        injected = InjectedSignal(pseudo.inject.mass, strength)
    simulate_sample(
        context,
        PSEUDO_DATA,
        _pseudo_sample(context),
        luminosity_fb=context.config.luminosity_fb,
        inject=injected,
        seed=pseudo.seed,
    )


def _observe(
    context: Context,
    simulation: Simulation,
    inputs: list[ScanInputs],
    data_samples: list[str],
    record: StageRecord,
) -> PseudoData:
    """Counts of every channel of the fit, from data or what stands in for them."""
    if data_samples:
        samples = {name: described_sample(context, name) for name in data_samples}
        return PseudoData(_count(context, simulation, inputs, samples, record), DATA_LABEL, None)
    if _draws_events(context):
        path = simulated_path(context, PSEUDO_DATA)
        sample = simulated_sample(PSEUDO_DATA, _pseudo_sample(context), path)
        counts = _count(context, simulation, inputs, {PSEUDO_DATA: sample}, record)
        made = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["settings"].get("inject")
        injection = None
        if made is not None:
            strength = made["cross_section_fb"]
            n_expected = sum(
                strength * float(channel.yield_per_unit(made["mass"])[0])
                for channel in _channels_of_search(context, inputs).values()
                if channel.sees([made["mass"]])[0]
            )
            injection = Injection(made["mass"], strength, n_expected, None)
        return PseudoData(counts, EVENTS_LABEL, context.config.pseudo_data.seed, injection)
    return _draw(context, inputs)


def _count(
    context: Context,
    simulation: Simulation,
    inputs: list[ScanInputs],
    samples: Mapping[str, Any],
    record: StageRecord,
) -> dict[str, NDArray[np.int64]]:
    """Histograms of selected data, read, scored and counted chunk by chunk."""
    _, categorise = load_choice(context)
    bundles = {c.name: Bundle.load(bundle_path(context, c)) for c in context.config.classifiers}
    counts = {
        channel.name: np.zeros(len(given.common.edges) - 1, np.int64)
        for given in inputs
        for channel in given.channels
    }
    kept: dict[str, list[Scores]] = {name: [] for name in bundles}
    for sample in samples.values():
        with bar(f"read {sample.name}") as progress:
            for i, events in enumerate(sample_chunks(context, simulation.reading, sample)):
                scores = simulation.scores(events, bundles)
                table = simulation.table(events, scores)
                for name, bundle in bundles.items():
                    rows = np.flatnonzero(np.isfinite(scores[name]))
                    of_bundle = score_table(
                        events.select(rows),
                        scores[name][rows],
                        bundle,
                        observable=context.config.scan.observable,
                    )
                    kept[name].append(of_bundle)
                for given in inputs:
                    own = table.of_channel(given.name)
                    category = categorise[given.name](own.observable, own.columns, own.key)
                    for c, channel in enumerate(given.channels, start=1):
                        counts[channel.name] += np.histogram(
                            own.observable[category == c], given.common.edges
                        )[0]
                progress(i, i + 1)
    for name, parts in kept.items():
        if parts:
            path = context.run / "scores" / f"{DATA_SCORES}{name}.parquet"
            join_scores(parts).save(path)
            record.wrote(path)
    return counts


def _channels_of_search(context: Context, inputs: list[ScanInputs]) -> dict[str, ScanChannel]:
    """Channels of the fit that the search is about, by name."""
    pairs = ((given.name, channel) for given in inputs for channel in given.channels)
    return {channel.name: channel for channel in fits_of(context.config)[0].select(context.config, pairs)}


def _draw(context: Context, inputs: list[ScanInputs]) -> PseudoData:
    """Poisson draws from the smooth model of each category, with the signal that was asked for."""
    pseudo = context.config.pseudo_data
    models: dict[str, ExpectedSpectrum] = {}
    for given in inputs:
        models |= smooth_backgrounds(
            given.candidates,
            given.common,
            given.channels,
            whole_peaks(context.config),
            known_peaks(context.config, given.name),
        )
    drawn = draw_pseudo_data(models, seed=pseudo.seed)
    strength = injected_strength(context)
    if strength is None or pseudo.inject is None:
        return drawn
    mass = pseudo.inject.mass
    yields, events, edges = {}, {}, {}
    of_search = _channels_of_search(context, inputs)
    for given in inputs:
        candidates = given.candidates
        slope = float(peak_slope(mass, given.common.shape.position))
        for c, channel in enumerate(given.channels, start=1):
            edges[channel.name] = channel.edges
            if not channel.sees(np.array([mass]))[0]:
                continue
            rows = (candidates.label == 1) & (candidates.category == c)
            yields[channel.name] = float(of_search[channel.name].yield_per_unit(mass)[0])
            events[channel.name] = nearby_signal(
                candidates.observable[rows],
                candidates.mass[rows],
                candidates.weight[rows],
                at=mass,
                half_width=max(10 * float(channel.sigma(np.array(mass))), 0.02 * mass),
                slope=slope,
            )
    return inject_signal(
        drawn, edges, mass=mass, strength=strength, yields_per_unit=yields, events=events, seed=pseudo.seed
    )
