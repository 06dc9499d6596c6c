"""Speed of reading beside plain uproot, its memory, and the speed of pairing and of the kinematic fit."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import uproot

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import KINEMATIC_COLUMNS, PairingRecipe, build_candidates
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role
from darksieve.datasets.kinematic_fit import PhotonResolution, fit_photons
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader

COMMAND = "python -m benchmarks.datasets"
N_ROWS = 600_000
N_BRANCHES = 40
N_READ = 24
REPETITIONS = 5
N_FILES = 8
SELECT = "b0 > -1 and abs(b1) < 1.5"


def _write_file(path: Path, n_rows: int = N_ROWS) -> None:
    """A ntuple of float32 branches, ZSTD-1, baskets of 50k rows."""
    rng = np.random.default_rng(1)
    names = [f"b{i}" for i in range(N_BRANCHES)]
    types: dict[str, Any] = {
        "__experiment__": "i4",
        "__run__": "i4",
        "__event__": "u4",
        "__candidate__": "i4",
    }
    types |= dict.fromkeys(names, "f4")
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        tree = file.mktree("ntuple", types)
        for start in range(0, n_rows, 50_000):
            n = min(50_000, n_rows - start)
            columns: dict[str, np.ndarray] = {name: rng.normal(size=n).astype("f4") for name in names}
            columns |= {
                name: np.ones(n, dtype="i4") for name in ("__experiment__", "__run__", "__candidate__")
            }
            columns["__event__"] = np.arange(start, start + n, dtype="u4")
            tree.extend(columns)


def _interleaved_seconds(*runs: Callable[[], Any]) -> list[float]:
    """Median seconds of each, taken in turns so that a busy machine slows all alike."""
    for run in runs:
        run()
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(REPETITIONS):
        for run, of_run in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            of_run.append(time.perf_counter() - start)
    return [statistics.median(of_run) for of_run in seconds]


def measure_reading() -> list[dict[str, Any]]:
    """Reading with a selection, relative to plain uproot on the same branches and file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ntuple.root"
        _write_file(path)
        wanted = [f"b{i}" for i in range(N_READ)]
        needed = {*wanted, "__experiment__", "__run__", "__event__", "__candidate__"}
        sample = Sample("qed", Role.BACKGROUND, (path,), luminosity_fb=1.0)
        recipe = ReadRecipe(tuple(wanted), luminosity_fb=1.0, select=SELECT)

        def plain() -> None:
            with uproot.open(path) as file:
                for _ in file["ntuple"].iterate(
                    filter_name=lambda n: n in needed, step_size=50_000, library="np"
                ):
                    pass

        def plain_with_selection() -> None:
            with uproot.open(path) as file:
                for c in file["ntuple"].iterate(
                    filter_name=lambda n: n in needed, step_size=50_000, library="np"
                ):
                    passed = (c["b0"] > -1) & (np.abs(c["b1"]) < 1.5)
                    _ = {name: values[passed] for name, values in c.items()}

        def ours() -> None:
            for _ in SampleReader(sample, recipe).chunks():
                pass

        def plain_in_memory() -> None:
            with uproot.open(path) as file:
                file["ntuple"].arrays(filter_name=lambda n: n in needed, library="np")

        def ours_in_memory() -> None:
            SampleReader(sample, recipe).read()

        plain_s, selected_s, ours_s, plain_memory_s, ours_memory_s = _interleaved_seconds(
            plain, plain_with_selection, ours, plain_in_memory, ours_in_memory
        )
        peaks = [_peak_memory_mb(path, n_files) for n_files in (1, N_FILES)]
    bar = "> 0.70 of plain uproot's speed"
    return [
        _entry(
            "reading and selection as a stream (rows/s)",
            N_ROWS / ours_s,
            bar,
            f"uproot.iterate on the same branches {N_ROWS / plain_s:.3g} rows/s; "
            f"with the selection in numpy {N_ROWS / selected_s:.3g} rows/s",
            plain_s / ours_s,
            plain_s / ours_s > 0.70,
        ),
        _entry(
            "reading and selection of a whole sample, duplicates searched (rows/s)",
            N_ROWS / ours_memory_s,
            bar,
            f"uproot's arrays() on the same branches {N_ROWS / plain_memory_s:.3g} rows/s, nothing selected",
            plain_memory_s / ours_memory_s,
            plain_memory_s / ours_memory_s > 0.70,
        ),
        _entry(
            f"peak memory of the stream, {N_FILES} files of {N_ROWS} rows (MB)",
            peaks[1],
            "< 1000 MB, and < 1.2 of that for one file",
            f"one file: {peaks[0]:.0f} MB",
            peaks[1] / peaks[0],
            peaks[1] < 1000 and peaks[1] < 1.2 * peaks[0],
        ),
    ]


_STREAM = """
import sys
from pathlib import Path
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
sample = Sample("qed", "background", tuple(sys.argv[2:]), luminosity_fb=1.0)
recipe = ReadRecipe(tuple(f"b{i}" for i in range(int(sys.argv[1]))), luminosity_fb=1.0)
for _ in SampleReader(sample, recipe).chunks():
    pass
status = Path("/proc/self/status").read_text()  # ru_maxrss would include the process that started this one
print(float(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def _peak_memory_mb(path: Path, n_files: int) -> float:
    """Peak resident memory of a process of its own that streams the file under several names."""
    paths = [path.with_name(f"copy{i}.root") for i in range(n_files)]
    for link in paths:
        if not link.exists():
            link.hardlink_to(path)
    command = [sys.executable, "-c", _STREAM, str(N_READ), *map(str, paths)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _photons(n: int) -> np.ndarray:
    """Measured laboratory momenta of three photons of the right total energy, shape (n, 3, 4)."""
    rng = np.random.default_rng(2)
    beams = Beams.named("belle2")
    energy = rng.dirichlet([2, 2, 2], size=2 * n)
    energy = energy[(energy < 0.48).all(axis=1) & (energy > 0.06).all(axis=1)][:n] * beams.sqrt_s
    cos_12 = 1 - 2 * beams.sqrt_s * (beams.sqrt_s / 2 - energy[:, 2]) / (energy[:, 0] * energy[:, 1]) / 2
    turn = rng.uniform(0, 2 * np.pi, len(energy))
    first = np.stack([np.cos(turn), np.sin(turn), np.zeros_like(turn)], -1)
    other = np.cross([0, 0, 1.0], first)
    tilt = rng.uniform(-1, 1, len(energy))[:, None]
    normal = np.sqrt(1 - tilt**2) * other + tilt * np.array([0, 0, 1.0])
    second = cos_12[:, None] * first + np.sqrt(1 - cos_12[:, None] ** 2) * normal
    p1, p2 = energy[:, :1] * first, energy[:, 1:2] * second
    cms = np.stack([p1, p2, -p1 - p2], axis=1)
    cms = np.concatenate([cms, np.linalg.norm(cms, axis=-1, keepdims=True)], axis=-1)
    lab = beams.to_lab(cms)
    resolution = PhotonResolution()
    return lab * (1 + resolution.energy(lab[..., 3:]) / lab[..., 3:] * rng.standard_normal((len(lab), 3, 1)))


def measure_candidates() -> list[dict[str, Any]]:
    """Pairing and kinematic fit, events per second on one core."""
    beams = Beams.named("belle2")
    momenta = _photons(50_000)
    recipe = PairingRecipe(("gamma1", "gamma2", "gamma3"))
    columns = {
        f"gamma{i + 1}_{c}": momenta[:, i, j].astype(np.float32)
        for i in range(3)
        for j, c in enumerate(("px", "py", "pz", "E"))
    }
    wanted = KINEMATIC_COLUMNS
    n = len(momenta)
    (t_pair,) = _interleaved_seconds(lambda: build_candidates(columns, recipe, beams, wanted=wanted))
    (t_fit,) = _interleaved_seconds(lambda: fit_photons(momenta, beams))
    return [
        _entry("pairing of three photons (events/s)", n / t_pair, ">= 3e5", "", None, n / t_pair >= 3e5),
        _entry("kinematic fit (events/s)", n / t_fit, ">= 1e5", "", None, n / t_fit >= 1e5),
    ]


def _entry(name: str, value: float, bar: str, peer: str, ratio: float | None, passed: bool) -> dict[str, Any]:
    return {
        "area": "datasets",
        "name": name,
        "value": float(f"{value:.4g}"),
        "bar": bar,
        "peer": peer,
        "ratio": None if ratio is None else round(ratio, 3),
        "command": COMMAND,
        "passed": bool(passed),
    }


def measure() -> list[dict[str, Any]]:
    """Every figure of the datasets."""
    return [*measure_reading(), *measure_candidates()]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
