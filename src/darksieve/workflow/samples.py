"""Samples: simulated where the config says so, described for the reader, and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SampleConfig, SearchConfig
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.cut_flow import CutFlow
from darksieve.datasets.events import Events, Role, concatenate
from darksieve.datasets.kept_files import fetch_files, keep_files, simulation_key
from darksieve.datasets.mapped_columns import keep_on_disk
from darksieve.datasets.weights import PolicyEffect
from darksieve.errors import InputError, nearest
from darksieve.progress import bar
from darksieve.run_folder import StageRecord
from darksieve.workflow.context import Context, beams_of
from darksieve.workflow.correcting import apply_corrections
from darksieve.workflow.reading import Reading
from darksieve.workflow.weighing import log_effects

_SIZE_KEYS = ("n_events", "luminosity_fb", "n_candidates", "masses", "mass_range")


def simulation_arguments(config: SearchConfig, name: str, sample: SampleConfig) -> dict[str, Any]:
    """Arguments of ``simulate`` for a sample: its size apart from its physics settings.

    Raises:
        InputError: If the process or a setting is not known.
    """
    from darksieve.datasets.simulation.processes import process_named
    from darksieve.datasets.simulation.request import SampleRequest

    assert sample.simulate is not None
    process = process_named(sample.simulate)
    may_be = {process.role.value, *(["control"] if process.role is Role.BACKGROUND else [])}
    if sample.role not in may_be:
        raise InputError(
            f"samples.{name}: {sample.simulate} makes {process.role.value}, but its role is {sample.role}"
        )
    physics = {key: value for key, value in sample.settings.items() if key not in _SIZE_KEYS}
    known = [*_SIZE_KEYS, *(field.name for field in fields(process.settings))]
    unknown = [key for key in physics if key not in known]
    if unknown:
        raise InputError(
            f"config error at samples.{name}.settings.{unknown[0]}: unknown key{nearest(unknown[0], known)}"
        )
    arguments: dict[str, Any] = {key: sample.settings[key] for key in _SIZE_KEYS if key in sample.settings}
    place = f"samples.{name}.settings"
    if "masses" in arguments:
        try:
            arguments["masses"] = {float(mass): int(n) for mass, n in dict(arguments["masses"]).items()}
        except (TypeError, ValueError):
            raise InputError(f"{place}.masses: {arguments['masses']!r}; write {{mass: events}}") from None
    if "mass_range" in arguments:
        try:
            low, high = (float(edge) for edge in arguments["mass_range"])
        except (TypeError, ValueError):
            raise InputError(f"{place}.mass_range: {arguments['mass_range']!r}; write [low, high]") from None
        arguments["mass_range"] = (low, high)
    arguments["settings"] = process.settings.from_mapping(
        {"beams": beams_of(config, sample.period), **physics}, place
    )
    if process.role is not Role.DATA:  # the luminosity of pseudo-data is the search's
        try:
            SampleRequest(sample.simulate, **arguments)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
    return arguments


def simulated_path(context: Context, name: str) -> Path:
    """Where a simulated sample lies in the run's folder."""
    return context.run / "samples" / f"{name}.root"


def simulate_samples(context: Context) -> None:
    """Generate every sample that has ``simulate``, each a stage of its own."""
    for name, sample in context.config.samples.items():
        if sample.simulate is not None:
            simulate_sample(context, name, sample)


def simulate_sample(context: Context, name: str, sample: SampleConfig, **extra: Any) -> None:
    """Generate one sample into the run's folder, unless it is there; ``extra`` goes to the generator."""
    from darksieve.datasets.simulation.production import simulate
    from darksieve.datasets.simulation.record import SampleRecord

    assert sample.simulate is not None
    process = sample.simulate
    arguments = simulation_arguments(context.config, name, sample) | extra
    settings = arguments["settings"]
    seed = arguments.setdefault("seed", context.config.seed)
    described = {k: v for k, v in arguments.items() if k not in ("settings", "inject")}
    injected = arguments.get("inject")
    depends_on = [
        process,
        seed,
        {k: str(v) for k, v in described.items()},
        settings.to_mapping(),
        None if injected is None else asdict(injected),
    ]

    def work(record: StageRecord) -> str:
        path = simulated_path(context, name)
        written = (path, path.with_suffix(".json"))
        key = simulation_key(process, {"depends_on": depends_on, "tree": sample.tree})
        kept = context.cache is not None and fetch_files(context.cache, key, written)
        if kept:
            made = SampleRecord.load(path)
        else:
            with bar(f"simulate {name}") as progress:
                made = simulate(
                    process, path, tree=sample.tree, workers=context.workers, progress=progress, **arguments
                )
            if context.cache is not None:
                keep_files(context.cache, key, f"{name}: {process}, seed {seed}", written)
        record.wrote(*written)
        record.facts["sha256_of_columns"] = made.sha256
        generated = made.n_generated if isinstance(made.n_generated, int) else sum(made.n_generated.values())
        return f"{generated} generated, {made.n_selected} selected (toy simulation)" + (
            ", from the cache" if kept else ""
        )

    context.stage(f"simulate.{name}", depends_on, work)


def described_sample(context: Context, name: str) -> Sample:
    """A sample of the config as the reader takes it.

    Raises:
        InputError: If a file is missing, or what its events are worth cannot be known.
    """
    sample = context.config.samples[name]
    if sample.simulate is None:
        return sample_with_files(name, sample)
    return simulated_sample(name, sample, simulated_path(context, name))


def sample_with_files(name: str, sample: SampleConfig) -> Sample:
    """A sample of the user's own files."""
    return Sample(
        name=name,
        role=Role(sample.role),
        files=tuple(Path(file) for file in sample.files or ()),
        tree=sample.tree,
        select=sample.select,
        luminosity_fb=sample.luminosity_fb,
        cross_section_fb=sample.cross_section_fb,
        n_generated=sample.n_generated,
        mass=sample.mass,
        mass_range=sample.mass_range,
        weight=sample.weight,
        non_finite=sample.non_finite,
        negative_weights=sample.negative_weights,
        process=sample.process or "",
        period=sample.period,
    )


def simulated_sample(name: str, sample: SampleConfig, path: Path) -> Sample:
    """A simulated sample, with what its sidecar says it is worth."""
    from darksieve.datasets.simulation.processes import process_named
    from darksieve.datasets.simulation.record import SampleRecord

    made = SampleRecord.load(path)
    process = process_named(made.process)
    is_signal = made.role is Role.SIGNAL
    return Sample(
        name=name,
        role=Role(sample.role),
        files=(path,),
        tree=made.tree,
        select=sample.select,
        luminosity_fb=made.luminosity_fb if made.role is Role.BACKGROUND else None,
        n_generated=made.n_generated if is_signal else None,
        mass=process.mass_branch,
        mass_range=made.mass_range,
        weight=process.weight_branch,
        non_finite=sample.non_finite,
        negative_weights=sample.negative_weights,
        process=sample.process or "",
        period=sample.period,
    )


def simulated_names(config: SearchConfig) -> list[str]:
    """Samples of signal and background: what trains, chooses and is scanned."""
    return [name for name, sample in config.samples.items() if sample.role in ("signal", "background")]


def read_simulation(
    context: Context, reading: Reading, selected: Callable[[Events], NDArray[np.bool_]]
) -> tuple[Events, dict[str, CutFlow], dict[str, PolicyEffect]]:
    """Candidates of every signal and background sample; all files are checked before the first event.

    Of more candidates than ``memory.max_candidates`` the columns lie on disk, in the run's folder.

    Args:
        selected: Mask of the candidates that are kept, shape (n,), for whole events of one sample.

    Returns:
        Candidates, and of each sample its cut flow and what its policy for negative weights changed.
    """
    names = simulated_names(context.config)
    readers = [reading.cached(described_sample(context, name), context.cache) for name in names]
    truth = reading.truth
    n_pairs = 1 if reading.pairings is None else len(reading.pairings.pairs)
    n_possible = n_pairs * sum(reader.reader.files.n_entries for reader in readers)
    largest = context.config.memory.max_candidates
    if n_possible > largest and context.config.candidates.best is not None:
        readers = [reading.cached(r.sample, context.cache, whole_events=True) for r in readers]
    with bar("read") as progress:

        def parts() -> Iterator[Events]:
            for i, reader in enumerate(readers):
                for read in reader.chunks() if n_possible > largest else [reader.read()]:
                    events = apply_corrections(read, reader.sample.name, reading.corrections)
                    events = _with_columns_of_some(events, truth, reading.families)
                    mask = selected(events)
                    yield events if mask.all() else events.select(np.flatnonzero(mask))
                progress(i + 1, len(readers))

        if n_possible > largest:
            events = keep_on_disk(parts(), context.run.path)
            events = events.select(np.arange(len(events))) if len(events) <= largest else events
        else:
            whole = list(parts())
            # a branch of the event key that one sample lacks is a column of none
            common = set.intersection(*(set(part.columns) for part in whole))
            events = concatenate([part.with_only(common) for part in whole])
    effects = {reader.sample.name: reader.policy_effect for reader in readers}
    log_effects(effects)
    return events, {reader.sample.name: reader.cut_flow for reader in readers}, effects


def _with_columns_of_some(events: Events, truth: str | None, families: tuple[str, ...]) -> Events:
    """The events with columns that only samples of signal, or of several peaks, have; NaN elsewhere."""
    names = [*families, *([] if truth is None or truth in events.columns else [truth])]
    nothing = np.full(len(events), np.nan)
    own = {n: events[n].astype(np.float64) if n in events.columns else nothing for n in names}
    return events.with_columns(**own) if own else events


def sample_chunks(context: Context, reading: Reading, sample: Sample) -> Iterator[Events]:
    """Candidates of a sample of data or control, in chunks that split no event where its best is chosen."""
    yield from reading.cached(sample, context.cache, may_be_empty=True, whole_events=True).chunks()


def identity_of_inputs(context: Context, names: list[str]) -> Mapping[str, Any]:
    """What a stage that reads samples depends on: their config, and their files or what made them."""
    identity: dict[str, Any] = {}
    for name in names:
        sample = context.config.samples[name]
        if sample.simulate is not None:
            own = [sample.select, sample.non_finite, sample.negative_weights, sample.process, sample.period]
            identity[name] = [*own, *context.key(f"simulate.{name}")]
            continue
        files = sample_with_files(name, sample).files
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        identity[name] = [sample.model_dump(mode="json", exclude={"peaking"}), stats]
    return identity
