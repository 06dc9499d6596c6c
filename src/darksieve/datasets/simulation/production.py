"""Production of samples: fixed blocks of events on their own streams, written as ROOT with a sidecar."""

from __future__ import annotations

import math
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from darksieve.datasets.events import Role
from darksieve.datasets.simulation.ntuple import NtupleWriter
from darksieve.datasets.simulation.plans import (
    EVENT_STRIDE,
    BackgroundPlan,
    Block,
    Plan,
    PseudoDataPlan,
    SignalPlan,
)
from darksieve.datasets.simulation.processes import PROCESSES, SIGNAL, background_sources, process_named
from darksieve.datasets.simulation.record import SampleRecord
from darksieve.datasets.simulation.settings import SimulationSettings
from darksieve.datasets.simulation.sources import ALP_PDG, ResonanceSource
from darksieve.errors import InputError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Injection:
    """A signal hidden in pseudo-data: its mass in GeV, its cross section in fb in the full solid angle."""

    mass: float
    cross_section_fb: float


_worker_plan: Plan | None = None


def _start_worker(plan: Plan) -> None:
    global _worker_plan  # noqa: PLW0603  # one plan per worker process, sent once
    _worker_plan = plan


def _make_in_worker(block: int) -> Block:
    assert _worker_plan is not None
    return _worker_plan.make(block)


def _blocks(plan: Plan, workers: int) -> Iterator[Block]:
    """Blocks in order; with workers a few are under way at a time, so memory stays bounded."""
    if workers == 1 or plan.n_blocks == 1:
        for block in range(plan.n_blocks):
            yield plan.make(block)
        return
    context = multiprocessing.get_context("spawn")
    workers = min(workers, plan.n_blocks)
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(plan,)
    ) as pool:
        waiting: deque[Future[Block]] = deque()
        try:
            for block in range(plan.n_blocks):
                waiting.append(pool.submit(_make_in_worker, block))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _signal_masses(
    masses: Mapping[float, int] | None,
    mass_range: tuple[float, float] | None,
    n_events: int | None,
    sqrt_s: float,
) -> tuple[tuple[tuple[float, int], ...], tuple[float, float] | None, int]:
    if (masses is None) == (mass_range is None):
        raise InputError(f"{SIGNAL}: give either masses (events per mass) or mass_range (flat)")
    if masses is not None:
        if n_events is not None:
            raise InputError(f"{SIGNAL}: masses hold the number of events of each mass; leave n_events out")
        if not masses:
            raise InputError(f"{SIGNAL}: masses is empty")
        for mass, n in masses.items():
            if not 0 < mass < sqrt_s:
                raise InputError(f"{SIGNAL}: mass {mass} GeV is outside 0 to {sqrt_s:.3f} GeV (√s)")
            _check_count(n, f"{SIGNAL}: number of events at {mass} GeV")
        discrete = tuple((float(mass), int(n)) for mass, n in masses.items())
        return discrete, None, sum(n for _, n in discrete)
    assert mass_range is not None
    low, high = (float(edge) for edge in mass_range)
    if not 0 < low < high < sqrt_s:
        raise InputError(
            f"{SIGNAL}: mass_range {low} to {high} GeV; it rises inside 0 to {sqrt_s:.3f} GeV (√s)"
        )
    if n_events is None:
        raise InputError(f"{SIGNAL}: mass_range needs n_events")
    return (), (low, high), n_events


def _check_count(n: int, what: str) -> None:
    if not 1 <= n < 2**32 - 1:
        raise InputError(f"{what} is {n}; it is at least 1 and below {2**32 - 1}")


def simulate(
    process: str,
    path: Path | str,
    *,
    n_events: int | None = None,
    luminosity_fb: float | None = None,
    masses: Mapping[float, int] | None = None,
    mass_range: tuple[float, float] | None = None,
    inject: Injection | None = None,
    settings: SimulationSettings | None = None,
    seed: int = 1,
    workers: int = 1,
    tree: str = "ntuple",
    progress: Progress | None = None,
) -> SampleRecord:
    """Simulates a process into a ROOT file with a JSON sidecar of the same stem, both written atomically.

    The columns depend on the arguments and the seed alone, not on the number of workers. With more than one
    worker the processes are spawned, so a script needs the usual ``if __name__ == "__main__"``.

    Args:
        process: A name of ``PROCESSES``.
        path: The ROOT file.
        n_events: Events to generate, before the preselection (backgrounds, flat signal).
        luminosity_fb: Instead, the luminosity to generate (backgrounds; pseudo-data, which needs it).
        masses: Signal at these masses in GeV: events to generate at each.
        mass_range: Signal flat in mass between these, GeV.
        inject: A signal in pseudo-data.
        settings: All physics settings; the defaults are Belle II's beams.
        seed: Any integer of at least 0.
        workers: Processes to use, each with one thread.
        tree: Name of the TTree.
        progress: Called with generated and all expected events after each block.

    Returns:
        The sidecar's contents.

    Raises:
        InputError: If the arguments do not fit the process or each other.
    """
    chosen = process_named(process)
    settings = settings or SimulationSettings()
    path = Path(path)
    if path.suffix != ".root":
        raise InputError(f"{path}: simulated samples are ROOT files; name it .root")
    if seed < 0:
        raise InputError(f"seed is {seed}; it is at least 0")
    if workers < 1:
        raise InputError(f"workers is {workers}; it is at least 1")
    if (masses is not None or mass_range is not None) and chosen.role is not Role.SIGNAL:
        raise InputError(f"{process}: masses and mass_range belong to {SIGNAL}")
    if inject is not None and chosen.role is not Role.DATA:
        raise InputError(f"{process}: a signal can be injected into pseudo-data only")
    if luminosity_fb is not None and not (math.isfinite(luminosity_fb) and luminosity_fb > 0):
        raise InputError(f"{process}: luminosity_fb is {luminosity_fb}; it is positive")

    cross_section = cross_section_error = None
    plan: Plan
    if chosen.role is Role.SIGNAL:
        if luminosity_fb is not None:
            raise InputError(f"{process}: a signal has no luminosity; give n_events")
        discrete, mass_range, n_total = _signal_masses(masses, mass_range, n_events, settings.beams.sqrt_s)
        _check_count(n_total, f"{process}: n_events")
        plan = SignalPlan(chosen.production, settings, seed, n_total, discrete, mass_range)
    elif chosen.role is Role.DATA:
        if luminosity_fb is None or n_events is not None:
            raise InputError(f"{process}: pseudo-data takes luminosity_fb, not n_events")
        plan = _pseudo_data_plan(chosen.production, settings, seed, luminosity_fb, inject)
        n_total = round(plan.n_expected)
        if plan.n_blocks * EVENT_STRIDE >= 2**32:
            raise InputError(
                f"{process}: {luminosity_fb}/fb are {n_total} events, more than event numbers allow"
            )
    else:
        if (n_events is None) == (luminosity_fb is None):
            raise InputError(f"{process}: give either n_events or luminosity_fb")
        assert chosen.source is not None
        source = chosen.source(settings)
        cross_section, cross_section_error = source.cross_section_fb, source.cross_section_error_fb
        if cross_section <= 0:
            raise InputError(f"{process}: its cross section is {cross_section} fb with these settings")
        if luminosity_fb is not None:
            n_events = max(1, round(cross_section * luminosity_fb))
        assert n_events is not None
        _check_count(n_events, f"{process}: n_events")
        n_total = n_events
        luminosity_fb = n_events / cross_section
        plan = BackgroundPlan(source, chosen.production, settings, seed, n_events)

    n_generated = 0
    with NtupleWriter(path, tree) as writer:
        for block in _blocks(plan, workers):
            writer.write(block.columns)
            n_generated += block.n_generated
            if progress is not None:
                progress(n_generated, max(n_total, n_generated))
        # a sidecar of an older file must never stand beside the new one
        path.with_suffix(".json").unlink(missing_ok=True)

    all_settings = settings.to_mapping()
    if inject is not None:
        all_settings["inject"] = vars(inject)
    record = SampleRecord(
        process=process,
        role=chosen.role,
        tree=tree,
        seed=seed,
        n_generated={float(m): int(n) for m, n in masses.items()} if masses is not None else n_generated,
        n_selected=writer.n_rows,
        mass_range=mass_range,
        cross_section_fb=cross_section,
        cross_section_error_fb=cross_section_error,
        luminosity_fb=luminosity_fb,
        sha256=writer.sha256,
        columns=tuple(writer.columns),
        settings=all_settings,
        sources=settings.cross_sections.unit_and_source(),
    )
    record.save(path)
    return record


def _pseudo_data_plan(
    production: int,
    settings: SimulationSettings,
    seed: int,
    luminosity_fb: float,
    inject: Injection | None,
) -> PseudoDataPlan:
    sources = [(PROCESSES[name].production, source) for name, source in background_sources(settings).items()]
    if inject is not None:
        sqrt_s = settings.beams.sqrt_s
        if not 0 < inject.mass < sqrt_s:
            raise InputError(f"inject.mass is {inject.mass} GeV; it lies in 0 to {sqrt_s:.3f} GeV (√s)")
        if not (math.isfinite(inject.cross_section_fb) and inject.cross_section_fb >= 0):
            raise InputError(f"inject.cross_section_fb is {inject.cross_section_fb}; it is at least 0")
        signal = ResonanceSource(sqrt_s, inject.mass, ALP_PDG, inject.cross_section_fb)
        sources.append((PROCESSES[SIGNAL].production, signal))
    return PseudoDataPlan(tuple(sources), production, settings, seed, luminosity_fb)
