"""What a scan observes once unblinded: data, or the pseudo-data that stand in for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SampleConfig
from darksieve.errors import InputError
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.pseudo_data import (
    EVENTS_LABEL,
    ExpectedSpectrum,
    Injection,
    PseudoData,
    draw_pseudo_data,
    inject_signal,
    nearby_signal,
)
from darksieve.evaluation.scan_channels import smooth_backgrounds
from darksieve.evaluation.search_building import ScanChannel
from darksieve.evaluation.signal_shape import peak_slope
from darksieve.models.bundle import Bundle
from darksieve.models.scores import Scores, join_scores
from darksieve.progress import bar
from darksieve.run_folder import StageRecord
from darksieve.training.folds_training import score_table
from darksieve.workflow.cascade import bundle_path
from darksieve.workflow.categorising import load_choice
from darksieve.workflow.context import Context
from darksieve.workflow.fit_document import channels_of, document_of_fit
from darksieve.workflow.fits import fits_of
from darksieve.workflow.peaking import known_peaks, whole_peaks
from darksieve.workflow.samples import (
    described_sample,
    sample_chunks,
    simulate_sample,
    simulated_path,
    simulated_sample,
)
from darksieve.workflow.scan_inputs import ScanInputs, scan_inputs
from darksieve.workflow.scoring import Simulation

DATA_LABEL = "data"
DATA_SCORES = "data."  # before a classifier's name: scores of data, which a blind run does not keep
PSEUDO_DATA = "pseudo_data"  # name of the simulated sample that stands in for data


def draws_events(context: Context) -> bool:
    """Whether pseudo-data are simulated events, and not draws from a smooth model."""
    pseudo = context.config.pseudo_data
    return pseudo.simulate is not None and context.config.luminosity_fb <= pseudo.events_up_to_fb


def simulate_pseudo_data(context: Context) -> None:
    """Simulate the events that stand in for data, with the signal that is asked for among them."""
    from darksieve.datasets.simulation.production import Injection as InjectedSignal

    pseudo = context.config.pseudo_data
    strength = _injected_strength(context)
    injected = None
    if strength is not None and pseudo.inject is not None:
        injected = InjectedSignal(pseudo.inject.mass, strength)
    simulate_sample(
        context,
        PSEUDO_DATA,
        _pseudo_data_config(context),
        luminosity_fb=context.config.luminosity_fb,
        inject=injected,
        seed=pseudo.seed,
    )


def _pseudo_data_config(context: Context) -> SampleConfig:
    pseudo = context.config.pseudo_data
    return SampleConfig(role="data", simulate=pseudo.simulate, settings=pseudo.settings)


def _injected_strength(context: Context) -> float | None:
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
    model = document_of_fit(context, fits_of(context.config)[0], inputs, np.array([inject.mass]))
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


def observe(
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
    if draws_events(context):
        path = simulated_path(context, PSEUDO_DATA)
        sample = simulated_sample(PSEUDO_DATA, _pseudo_data_config(context), path)
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
    fit = fits_of(context.config)[0]
    return {channel.name: channel for channel in fit.select(context.config, channels_of(fit, inputs))}


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
    strength = _injected_strength(context)
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
