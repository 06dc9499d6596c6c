"""Speed of the B → h X simulation with its hadronic tag, from generation to the file of candidates.

No peer: see ``benchmarks.bfactory``.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.entries import entry
from darksieve.datasets.simulation.production import simulate

COMMAND = "python -m benchmarks.invisible"
N_EVENTS = 40_000
_WORKERS = 2
_PROCESSES: dict[str, dict[str, Any]] = {
    "hinv_pi": {"mass_range": (0.5, 4.0)},
    "hinv_continuum": {},
    "hinv_charged": {},
    "hinv_two_body_charged": {},
}


def measure() -> list[dict[str, Any]]:
    """Events a second of a signal and of backgrounds, all channels reconstructed."""
    entries = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.root"
        for process, extent in _PROCESSES.items():
            simulate(process, path, n_events=500, **extent)  # compiles
            start = time.perf_counter()
            simulate(process, path, n_events=N_EVENTS, workers=_WORKERS, **extent)
            entries.append(
                entry(
                    "b-searches",
                    COMMAND,
                    f"{process} events/s, generated to written, {_WORKERS} workers",
                    N_EVENTS / (time.perf_counter() - start),
                )
            )
    return entries


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
