"""Everything about a search that can be checked before any event is read or simulated."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from darksieve.config import SampleConfig, SearchConfig
from darksieve.datasets.catalogue import MASS_TOLERANCE, Sample
from darksieve.datasets.derived import DerivedColumns
from darksieve.datasets.events import Role
from darksieve.datasets.expressions import Expression
from darksieve.datasets.read_plan import ReadPlan
from darksieve.datasets.suspicions import suspicions, unused_patterns
from darksieve.datasets.truth import BOOKKEEPING, refuse_truth, truth_pattern
from darksieve.errors import InputError
from darksieve.evaluation.objectives import make_objective
from darksieve.evaluation.published import published_names, published_ranges
from darksieve.models.estimator import parse_options
from darksieve.workflow.context import beams_of
from darksieve.workflow.correcting import lines_of
from darksieve.workflow.interpolating import check_interpolation
from darksieve.workflow.reading import Reading, channel_expression, classifier_expression
from darksieve.workflow.samples import sample_with_files, simulation_arguments
from darksieve.workflow.scoring import features_of

WARNING = "warning: "  # begins a line about what looks wrong though nothing forbids it


def check_search(config: SearchConfig) -> list[str]:
    """Check config, files, trees, branches, features and ranges.

    Returns:
        A line for each thing that was checked, for the user; one that begins with ``WARNING`` is about what
        looks wrong.

    Raises:
        InputError: For the first thing that is wrong: place, value and mend.
    """
    lines = [f"search {config.search}: {config.luminosity_fb:g}/fb, {100 * config.confidence_level:g} % CLs"]
    beams = beams_of(config)
    lines.append(f"beams: sqrt(s) = {beams.sqrt_s:.4f} GeV")
    for name, channel in config.channels.items():
        for key, selection in channel.selections.items():
            channel_expression(name, selection, key)
    derived = DerivedColumns(config.candidates.columns)
    features: list[str] = []
    for classifier in config.classifiers:
        own = features_of(config, classifier)
        place = f"classifiers.{classifier.name}"
        if classifier.select is not None:
            classifier_expression(classifier.name, classifier.select)
        try:
            parse_options(classifier.model, classifier.options)
            refuse_truth(own, config.never_features)
            for feature in own:
                _refuse_truth_behind(feature, derived, config.never_features)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        features.extend(own)
        lines.append(f"classifier {classifier.name}: {classifier.model} on {len(own)} features")
    check_interpolation(config)
    make_objective(config.working_points.objective)
    _check_cut_columns(config, derived)
    known_range = config.interpretation.published_range
    if known_range is not None and known_range not in published_ranges():
        raise InputError(
            f"interpretation.published_range: {known_range!r} is not known;"
            f" there are {sorted(published_ranges())}"
        )
    published = config.interpretation.published
    if published is not None and published not in published_names():
        raise InputError(
            f"interpretation.published: {published!r} is not known; there are {sorted(published_names())}"
        )
    _check_pseudo_data(config)
    _refuse_truth_in_selections(config)
    reading = Reading(config, tuple(features))
    lines.extend(lines_of(reading.corrections))
    _check_simulated_branches(config, reading)
    masses: dict[str, tuple[float, ...]] = {}
    plans: list[ReadPlan] = []
    warnings: list[str] = []
    for name, sample in config.samples.items():
        if sample.simulate is not None:
            made = simulation_arguments(config, name, sample)
            if sample.role == "signal":
                masses[name] = made.get("mass_range") or tuple(made["masses"])
            lines.append(f"sample {name}: {sample.role}, simulated ({sample.simulate})")
            continue
        described = sample_with_files(name, sample)
        if sample.role == "signal":
            masses[name] = _generated_masses(described)
        reader = reading.reader(described)
        plans.append(reader.plan)
        warnings += suspicions(reader.plan, beams_of(config, sample.period).sqrt_s, _scanned(config))
        rows = sum(tree.n_entries for tree in reader.files.trees)
        lines.append(
            f"sample {name}: {sample.role}, {len(described.files)} files, {rows} rows, all branches there"
        )
    unused = unused_patterns(config.candidates.missing, plans)
    if unused and all(sample.simulate is None for sample in config.samples.values()):
        raise InputError(f"candidates.missing: no branch of any file matches {unused[0]!r}")
    lines += [f"{WARNING}{warning}" for warning in warnings]
    _check_mass_range(config, masses)
    lines.append(
        f"scan: {config.scan.observable} from {config.scan.range[0]:g} to {config.scan.range[1]:g} GeV"
    )
    return lines


def _scanned(config: SearchConfig) -> dict[str, tuple[float, float]]:
    """Observable -> range that the channels scan it in."""
    scanned = {config.scan.observable: config.scan.range}
    for channel in config.channels.values():
        if channel.observable is not None:
            scanned[channel.observable] = channel.range or config.scan.range
    return scanned


def _refuse_truth_behind(name: str, derived: DerivedColumns, never_features: list[str]) -> None:
    """Refuse a column of the user's own that is computed from truth."""
    if name not in derived:
        return
    for source in derived.sources_of([name]):
        pattern = truth_pattern(source, never_features)
        if pattern is not None:
            raise InputError(
                f"no classifier may see {name!r}: candidates.columns computes it from {source!r}, which is"
                f" known in simulation only or marks the sample (matches {pattern!r}); leave it out"
            )


def _refuse_truth_in_selections(config: SearchConfig) -> None:
    """Candidates are selected alike on simulation and data, so truth selects none of them."""
    used = {"scan.observable": [config.scan.observable]}
    if config.candidates.select is not None:
        used["candidates.select"] = list(Expression(config.candidates.select).branches)
    for name, channel in config.channels.items():
        for key, selection in channel.selections.items():
            used[f"channels.{name}.{key}"] = list(channel_expression(name, selection, key).branches)
        if channel.observable is not None:
            used[f"channels.{name}.observable"] = [channel.observable]
    if config.candidates.best is not None:
        used["candidates.best.by"] = [config.candidates.best.by]
    derived = DerivedColumns(config.candidates.columns)
    for place, branches in used.items():
        for branch in derived.sources_of(branches):
            pattern = truth_pattern(branch)
            if pattern is not None and pattern != BOOKKEEPING:
                raise InputError(
                    f"{place}: {branch!r} is known in simulation only (it matches {pattern!r});"
                    " a selection of a sample alone may use it: samples.NAME.select"
                )


def _check_cut_columns(config: SearchConfig, derived: DerivedColumns) -> None:
    """What is cut on is known in data, and is not what is scanned."""
    scanned = _scanned(config)
    for name in config.working_points.preselection:
        place = f"working_points.preselection.{name}"
        behind = derived.sources_of([name])
        for branch in behind:
            pattern = truth_pattern(branch, config.never_features)
            if pattern is not None:
                raise InputError(
                    f"{place}: {branch!r} is known in simulation only or marks the sample (it matches"
                    f" {pattern!r}); name a column that data have"
                )
        for observable in scanned:
            if observable in (name, *behind):
                raise InputError(
                    f"{place}: {observable!r} is scanned: a cut on it cuts the spectrum, and data there are"
                    " blind; name another column"
                )


def _check_simulated_branches(config: SearchConfig, reading: Reading) -> None:
    """Samples that are still to be simulated are held to the branches of their process."""
    for name, sample in config.samples.items():
        if sample.simulate is None:
            continue
        from darksieve.datasets.simulation.ntuple import NtupleWriter
        from darksieve.datasets.simulation.processes import process_named

        process = process_named(sample.simulate)
        arguments = simulation_arguments(config, name, sample)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "none.root"
            with NtupleWriter(path, sample.tree) as writer:
                branches = process.no_rows(arguments["settings"])
                # a tree without rows would be refused: one of noughts, which is never read
                writer.write({branch: np.zeros(1, values.dtype) for branch, values in branches.items()})
            is_signal = process.role is Role.SIGNAL
            none = Sample(
                name,
                process.role,
                (path,),
                tree=sample.tree,
                select=sample.select,
                luminosity_fb=1.0 if process.role is Role.BACKGROUND else None,
                mass=process.mass_branch,
                n_generated=1 if is_signal else None,
                mass_range=(0.0, 1.0) if is_signal else None,
                weight=process.weight_branch,
                period=sample.period,
            )
            try:
                reading.reader(none)
            except InputError as error:
                raise InputError(
                    str(error).replace(f"{path}:{sample.tree}", f"samples.{name} (simulated)")
                ) from None


def _generated_masses(signal: Sample) -> tuple[float, ...]:
    """Masses that a signal of the user's own was generated at, or the range of a flat one."""
    if signal.mass_range is not None:
        return signal.mass_range
    if isinstance(signal.n_generated, Mapping):
        return tuple(signal.n_generated)
    return () if signal.mass is None or isinstance(signal.mass, str) else (signal.mass,)


def _check_mass_range(config: SearchConfig, masses: Mapping[str, tuple[float, ...]]) -> None:
    """The signal samples together must reach from end to end of what the channels scan."""
    generated = [mass for own in masses.values() for mass in own]
    if not generated:
        return
    low, high = min(generated), max(generated)
    for name, channel in config.channels.items():
        start, end = config.scan.range
        if channel.range is not None:
            start, end = max(start, channel.range[0]), min(end, channel.range[1])
        if start < low - MASS_TOLERANCE or end > high + MASS_TOLERANCE:
            raise InputError(
                f"scan.range: channel {name} is scanned from {start:g} to {end:g} GeV, but the signal"
                f" ({', '.join(f'samples.{sample}' for sample in masses)}) was simulated from {low:g} to"
                f" {high:g} GeV; simulate more, or narrow the scan"
            )


def _check_pseudo_data(config: SearchConfig) -> None:
    """What stands in for data is made late in a run; what is wrong with it is said at once."""
    pseudo = config.pseudo_data
    if pseudo.simulate is not None:
        try:
            simulation_arguments(
                config, "x", SampleConfig(role="data", simulate=pseudo.simulate, settings=pseudo.settings)
            )
        except InputError as error:
            raise InputError(str(error).replace("samples.x", "pseudo_data")) from None
    elif pseudo.settings:
        raise InputError("pseudo_data.settings: settings belong to pseudo_data.simulate, which is not given")
    if pseudo.inject is None:
        return
    data = [name for name, sample in config.samples.items() if sample.role == "data"]
    if data:
        raise InputError(f"pseudo_data.inject: there are data (samples.{data[0]}); take out one of the two")
    mass, (low, high) = pseudo.inject.mass, config.scan.range
    if not low <= mass <= high:
        raise InputError(f"pseudo_data.inject.mass: {mass} GeV is outside the scan, {low} to {high} GeV")
    for start, end in config.scan.vetoes:
        if start <= mass <= end:
            raise InputError(
                f"pseudo_data.inject.mass: {mass} GeV is vetoed (scan.vetoes: {start} to {end} GeV)"
            )
