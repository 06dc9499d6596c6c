"""Everything about a search that can be checked before any event is read or simulated."""

from __future__ import annotations

from darksieve.config import SearchConfig
from darksieve.datasets.truth import refuse_truth
from darksieve.errors import InputError
from darksieve.evaluation.objectives import make_objective
from darksieve.evaluation.published import published_names
from darksieve.models.estimator import parse_options
from darksieve.workflow.context import beams_of
from darksieve.workflow.samples import Reading, channel_expression, sample_with_files, simulation_arguments
from darksieve.workflow.scoring import features_of


def check_search(config: SearchConfig) -> list[str]:
    """Check config, files, trees, branches, features and ranges.

    Returns:
        A line for each thing that was checked, for the user.

    Raises:
        InputError: For the first thing that is wrong: place, value and mend.
    """
    lines = [f"search {config.search}: {config.luminosity_fb:g}/fb, {100 * config.confidence_level:g} % CLs"]
    beams = beams_of(config)
    lines.append(f"beams: sqrt(s) = {beams.sqrt_s:.4f} GeV")
    for name, channel in config.channels.items():
        if channel.select is not None:
            channel_expression(name, channel.select)
    features: list[str] = []
    for classifier in config.classifiers:
        own = features_of(classifier)
        place = f"classifiers.{classifier.name}"
        try:
            parse_options(classifier.model, classifier.options)
            refuse_truth(own, config.never_features)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        features.extend(own)
        lines.append(f"classifier {classifier.name}: {classifier.model} on {len(own)} features")
    make_objective(config.working_points.objective)
    published = config.interpretation.published
    if published is not None and published not in published_names():
        raise InputError(
            f"interpretation.published: {published!r} is not known; there are {sorted(published_names())}"
        )
    reading = Reading(config, tuple(features))
    for name, sample in config.samples.items():
        if sample.simulate is not None:
            simulation_arguments(config, name, sample)
            lines.append(f"sample {name}: {sample.role}, simulated ({sample.simulate})")
            continue
        described = sample_with_files(name, sample)
        _check_mass_range(config, name, described.mass_range)
        reader = reading.reader(described)
        rows = sum(tree.n_entries for tree in reader.files.trees)
        lines.append(
            f"sample {name}: {sample.role}, {len(described.files)} files, {rows} rows, all branches there"
        )
    lines.append(
        f"scan: {config.scan.observable} from {config.scan.range[0]:g} to {config.scan.range[1]:g} GeV"
    )
    return lines


def _check_mass_range(config: SearchConfig, name: str, simulated: tuple[float, float] | None) -> None:
    """A flat signal must cover the scan; discrete masses are checked once their events are read."""
    if simulated is None:
        return
    wanted = (min(config.scan.masses), max(config.scan.masses)) if config.scan.masses else config.scan.range
    if wanted[0] < simulated[0] - 1e-9 or wanted[1] > simulated[1] + 1e-9:
        raise InputError(
            f"scan: masses from {wanted[0]:g} to {wanted[1]:g} GeV, but samples.{name} was simulated from"
            f" {simulated[0]:g} to {simulated[1]:g} GeV; simulate more, or narrow the scan"
        )
