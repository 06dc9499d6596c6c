"""The chain as a user meets it: time and memory of the demo, and its limits beside independent fits.

python -m benchmarks.chain
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.independent_fit import limits
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.document import SearchModel

COMMAND = "python -m benchmarks.chain"
SMALLER = (
    "luminosity_fb=10",
    "scan.step_sigma=1",
    "samples.signal.settings.n_events=300000",
    "samples.qed_3gamma.settings.n_events=600000",
)
DEMO = ["run", "gamma_alp", "--unblind", *(f"--set={one}" for one in SMALLER)]  # what `make demo` runs
MAX_SECONDS = 300.0
MAX_MEMORY_MB = 4096.0
N_MASSES = 4
AGREEMENT = 1e-3


def demo(folder: Path) -> tuple[float, float, Path]:
    """Seconds, peak memory in MB of the largest process, and the run's folder."""
    run = folder / "demo"
    entry = "from darksieve.cli import main; main()"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", entry, *DEMO, "-o", str(run)], cwd=folder, check=True)
    seconds = time.perf_counter() - began
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return seconds, peak_kib / 1024, run


def agreement_with_minuit(run: Path) -> float:
    """Largest relative difference of observed and median expected limits to iminuit at each mass."""
    model = SearchModel.load(run / "search.json")
    fitted = [point for point in model.points if point.channels]
    chosen = [fitted[i] for i in np.linspace(0, len(fitted) - 1, N_MASSES).astype(int)]
    curve = LimitCurve.load(run / "limits.json")
    worst = 0.0
    for point in chosen:
        ours = curve.point(point.label)
        observed, median = limits(model, point, curve.confidence_level)
        assert ours.observed is not None
        assert ours.expected is not None
        assert ours.expected["0"] is not None
        worst = max(worst, abs(ours.observed / observed - 1), abs(ours.expected["0"] / median - 1))
    return worst


def measure() -> list[dict[str, Any]]:
    """The figures of the chain."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with tempfile.TemporaryDirectory() as name:
        seconds, memory, run = demo(Path(name))
        worst = agreement_with_minuit(run)
    common = {"area": "chain", "command": COMMAND, "peer": None, "ratio": None}
    return [
        common
        | {
            "name": "make demo after installation, seconds",
            "value": seconds,
            "bar": MAX_SECONDS,
            "passed": seconds < MAX_SECONDS,
        },
        common
        | {
            "name": "make demo, peak memory of the largest process, MB",
            "value": memory,
            "bar": MAX_MEMORY_MB,
            "passed": memory < MAX_MEMORY_MB,
        },
        common
        | {
            "name": f"limits at {N_MASSES} masses, largest difference to iminuit",
            "value": worst,
            "bar": AGREEMENT,
            "peer": "iminuit on the same likelihood",
            "passed": worst < AGREEMENT,
        },
    ]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
