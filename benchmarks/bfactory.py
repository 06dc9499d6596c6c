"""Speed of the simulation at the Υ(4S), from generation to the file of candidates.

No peer: the simulations of experiments are orders of magnitude slower and simulate far more, so a ratio
would say nothing. The speed of Pythia alone, beside it, says what darksieve adds.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.entries import entry
from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.generation import continuum_events
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.production import simulate

COMMAND = "python -m benchmarks.bfactory"
N_CANDIDATES = 20_000
N_SIGNAL = 20_000
MAX_SECONDS = 120.0  # 20 000 continuum candidates on two cores
MIN_SIGNAL_PER_SECOND = 10_000.0  # generated events on two cores
_WORKERS = 2


def _entry(name: str, value: float, bar: float | None, *, at_least: bool = True) -> dict[str, Any]:
    passed = None if bar is None else bool(value >= bar if at_least else value <= bar)
    return entry("b-searches", COMMAND, name, value, bar, passed=passed)


def continuum_generation_per_second(n_events: int = 20_000) -> float:
    """Events a second out of Pythia alone, as arrays in the laboratory, on one core."""
    settings = BFactorySettings()
    beams = Beams.named("belle")
    continuum_events(np.random.default_rng(1), beams, settings.generator.min_continuum_mass, 100)
    start = time.perf_counter()
    continuum_events(np.random.default_rng(1), beams, settings.generator.min_continuum_mass, n_events)
    return n_events / (time.perf_counter() - start)


def measure() -> list[dict[str, Any]]:
    """Seconds to 20 000 continuum candidates, events and signal events a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.root"
        simulate("continuum", path, n_events=500)  # compiles
        simulate("b_to_kplus_alp", path, n_events=500, mass_range=(0.2, 4.5))
        start = time.perf_counter()
        record = simulate("continuum", path, n_candidates=N_CANDIDATES, workers=_WORKERS)
        seconds = time.perf_counter() - start
        assert isinstance(record.n_generated, int)
        start = time.perf_counter()
        simulate("b_to_kplus_alp", path, n_events=N_SIGNAL, mass_range=(0.2, 4.5), workers=_WORKERS)
        signal_seconds = time.perf_counter() - start
        start = time.perf_counter()
        simulate("b_to_kplus_alp", path, n_events=N_SIGNAL, mass_range=(0.2, 4.5))
        one_process_seconds = time.perf_counter() - start
        start = time.perf_counter()
        pairs = 20_000
        simulate("b_charged_pairs", path, n_events=pairs, workers=_WORKERS)
        pair_seconds = time.perf_counter() - start
    return [
        _entry(f"s to {N_CANDIDATES} continuum candidates, 2 workers", seconds, MAX_SECONDS, at_least=False),
        _entry("continuum events/s, generated to written, 2 workers", record.n_generated / seconds, None),
        _entry("continuum events/s out of Pythia alone, 1 core", continuum_generation_per_second(), None),
        _entry(
            "B → K a events/s, generated to written, 2 workers",
            N_SIGNAL / signal_seconds,
            MIN_SIGNAL_PER_SECOND,
        ),
        _entry(  # what processes take to start is not in it
            "B → K a events/s, generated to written, in one process that runs",
            N_SIGNAL / one_process_seconds,
            None,
        ),
        _entry("B+B- events/s, generated to written, 2 workers", pairs / pair_seconds, None),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1, default=float))
