"""Three photons at 408/fb: generated, selected, fitted, paired, scored and counted as a stream.

    python -m benchmarks.stream         the whole luminosity
    python -m benchmarks.stream 8       as many inverse femtobarn, extrapolated to 408

No event is written. The network is a quick one, trained here on a small sample: its speed is that of any of
its size.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import read_samples
from darksieve.datasets.simulation.production import simulate
from darksieve.datasets.simulation.request import SampleRequest
from darksieve.evaluation.simulated_spectrum import simulated_spectrum

COMMAND = "python -m benchmarks.stream"
LUMINOSITY_FB = 408.0
WORKERS = 2
MAX_SECONDS = 900.0
MAX_MEMORY_MB = 2048.0
RECIPE = ReadRecipe(
    columns=("M_gg",),
    luminosity_fb=LUMINOSITY_FB,
    select="fit_chi2 < 40",
    pairings=PairingRecipe(
        ("gamma1", "gamma2", "gamma3"),
        ("fit_px", "fit_py", "fit_pz", "fit_E"),
        true_pair="genPair",
        kinematic_fit=True,
    ),
    beams=Beams.named("belle2"),
)


def train(path: Path) -> None:
    """A network of the preset's size and number of folds, on a small sample."""
    from darksieve.models.estimator import PHOTON_FEATURES
    from darksieve.training.folds_training import train_bundle

    with tempfile.TemporaryDirectory() as folder:
        signal, background = Path(folder) / "signal.root", Path(folder) / "background.root"
        simulate("gamma_alp", signal, n_events=20_000, mass_range=(0.14, 9.95))
        simulate("qed_3gamma", background, n_events=20_000)
        samples = (
            Sample(
                "signal", Role.SIGNAL, (signal,), mass="genM_a", n_generated=20_000, mass_range=(0.14, 9.95)
            ),
            Sample("qed", Role.BACKGROUND, (background,), luminosity_fb=1.0),
        )
        recipe = replace(RECIPE, columns=(*RECIPE.columns, *PHOTON_FEATURES))
        bundle, _, _ = train_bundle(
            read_samples(samples, recipe).events,
            model="photon_network",
            n_folds=5,
            options={"epochs": 2},
            mass_column="M_gg",
        )
    bundle.save(path)


def stream(bundle: Path, luminosity_fb: float) -> dict[str, float]:
    """Seconds and memory of the stream, in this process and its workers; called in a process of its own."""
    request = SampleRequest("gamma_alp_pseudo_data", luminosity_fb=luminosity_fb)
    steps: list[tuple[float, int]] = []
    peaks: dict[str, float] = {}
    began = time.perf_counter()

    def progress(done: int, _: int) -> None:
        steps.append((time.perf_counter() - began, done))
        peaks.update(peak_memory_mb())

    made = simulated_spectrum(
        request,
        RECIPE,
        bundle,
        observable="M_gg",
        edges=np.linspace(0.1, 10.5, 2001),
        score_edges=np.linspace(0.0, 1.0, 11),
        workers=WORKERS,
        progress=progress,
    )
    seconds = time.perf_counter() - began
    # what starts once, imports and all, is over with the first pieces of every worker
    start_seconds, start_done = steps[min(2 * WORKERS, len(steps) - 1)]
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": seconds,
        "start_seconds": start_seconds,
        "start_generated": start_done,
        "cpu_seconds": own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime,
        "memory_mb": sum(peaks.values()),
        "generated": made.n_generated,
        "events": made.n_events,
        "candidates": int(made.counts.sum()),
    }


def peak_memory_mb() -> dict[str, float]:
    """Peak resident memory of this process and its children so far, by process number."""
    # ru_maxrss would include the process that started this one
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    peaks = {}
    for pid in ("self", *children):
        status = Path(f"/proc/{pid}/status").read_text()
        if "VmHWM:" in status:  # not of a process that has ended
            peaks[pid] = float(status.split("VmHWM:")[1].split()[0]) / 1024
    return peaks


def measure(luminosity_fb: float = LUMINOSITY_FB) -> list[dict[str, Any]]:
    """Seconds and memory at 408/fb; of less, the seconds are extrapolated."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "photons"
        train(bundle)
        code = (
            "import json, sys\nfrom pathlib import Path\nfrom benchmarks.stream import stream\n"
            "if __name__ == '__main__':\n"
            "    print(json.dumps(stream(Path(sys.argv[1]), float(sys.argv[2]))))\n"
        )
        script = Path(folder) / "run.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, str(script), str(bundle), str(luminosity_fb)],
            capture_output=True,
            text=True,
            check=True,
            env=_environment(),
        )
    found = json.loads(done.stdout)
    share = LUMINOSITY_FB / luminosity_fb
    whole = "" if share == 1 else f", extrapolated from {luminosity_fb:g}/fb"
    rest = (found["seconds"] - found["start_seconds"]) / (found["generated"] - found["start_generated"])
    seconds = found["start_seconds"] + rest * (share * found["generated"] - found["start_generated"])
    detail = (
        f"{found['generated']:.3g} generated, {found['events']:.3g} preselected events, "
        f"{found['candidates']:.3g} counted candidates, {found['cpu_seconds']:.0f} s of CPU, "
        f"{1 / rest:.3g} generated events/s after a start of {found['start_seconds']:.1f} s"
    )
    common = {"area": "datasets", "command": COMMAND, "ratio": None}
    return [
        common
        | {
            "name": f"three photons at 408/fb as a stream, two processes (s){whole}",
            "value": seconds,
            "bar": MAX_SECONDS,
            "peer": detail,
            "passed": seconds < MAX_SECONDS,
        },
        common
        | {
            "name": f"peak memory of all its processes (MB){whole and f', at {luminosity_fb:g}/fb'}",
            "value": found["memory_mb"],
            "bar": MAX_MEMORY_MB,
            "peer": None,
            "passed": found["memory_mb"] < MAX_MEMORY_MB,
        },
    ]


def _environment() -> dict[str, str]:
    """One thread per process, and this folder's packages for the script."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    threads = dict.fromkeys(names, "1")
    paths = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **threads, "PYTHONPATH": paths}


if __name__ == "__main__":
    wanted = float(sys.argv[1]) if len(sys.argv) > 1 else LUMINOSITY_FB
    print(json.dumps(measure(wanted), indent=1, ensure_ascii=False))
