"""Reading from the cache beside reading the files: as a stream and whole, plain ntuples and photon pairs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uproot

from benchmarks.entries import entry
from benchmarks.timing import interleaved_seconds
from darksieve.datasets.beams import Beams
from darksieve.datasets.cache import Cache
from darksieve.datasets.cached_reader import CachedReader
from darksieve.datasets.candidates import KINEMATIC_COLUMNS, PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.read_recipe import ReadRecipe

COMMAND = "python -m benchmarks.cache"
_entry = partial(entry, "datasets", COMMAND)
N_ROWS = 600_000
N_READ = 24
N_EVENTS = 400_000  # generated three-photon events
REPETITIONS = 5
BAR = "> 2 × the files' speed"


def _write_file(path: Path, n_rows: int, first: int = 0) -> None:
    """A ntuple of 40 float32 branches, ZSTD-1, baskets of 50k rows."""
    rng = np.random.default_rng(first + 1)
    names = [f"b{i}" for i in range(40)]
    types: dict[str, Any] = {"__run__": "i4", "__event__": "u4", "__candidate__": "i4"}
    types |= dict.fromkeys(names, "f4")
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        tree = file.mktree("ntuple", types)
        for start in range(0, n_rows, 50_000):
            n = min(50_000, n_rows - start)
            columns: dict[str, np.ndarray] = {name: rng.normal(size=n).astype("f4") for name in names}
            columns |= {name: np.ones(n, dtype="i4") for name in ("__run__", "__candidate__")}
            columns["__event__"] = np.arange(first + start, first + start + n, dtype="u4")
            tree.extend(columns)


def _drain(reader: CachedReader) -> int:
    return sum(len(events) for events in reader.chunks())


def _measure(
    sample: Sample, recipe: ReadRecipe, what: str, n_rows: int, folder: Path
) -> list[dict[str, Any]]:
    cache = Cache(folder / f"cache of {what}", max_gb=10)

    def plain() -> CachedReader:
        return CachedReader(sample, recipe, None)

    def cached() -> CachedReader:
        return CachedReader(sample, recipe, cache)

    n_candidates = _drain(cached())
    assert len(cache.entries()) == 1

    def making() -> None:
        cache.clear()
        _drain(cached())

    files_s, cache_s, whole_files_s, whole_cache_s, making_s = interleaved_seconds(
        lambda: _drain(plain()),
        lambda: _drain(cached()),
        plain().read,
        lambda: cached().read(),
        making,
        repetitions=REPETITIONS,
    )
    size = cache.entries()[0].n_bytes
    return [
        _entry(
            f"{what}: candidates from the cache as a stream (rows of the file/s)",
            n_rows / cache_s,
            BAR,
            f"from the files {n_rows / files_s:.3g} rows/s",
            files_s / cache_s,
            files_s / cache_s > 2,
        ),
        _entry(
            f"{what}: a whole sample from the cache (rows of the file/s)",
            n_rows / whole_cache_s,
            BAR,
            f"from the files {n_rows / whole_files_s:.3g} rows/s",
            whole_files_s / whole_cache_s,
            whole_files_s / whole_cache_s > 2,
        ),
        _entry(
            f"{what}: stream that makes the entry, time over that without a cache",
            making_s / files_s,
            "< 1.5",
            f"{n_candidates} candidates, {size / 1e6:.0f} MB in the cache",
            None,
            making_s / files_s < 1.5,
        ),
    ]


_STREAM = """
import sys
from pathlib import Path
from darksieve.datasets.cache import Cache
from darksieve.datasets.cached_reader import CachedReader
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.read_recipe import ReadRecipe
sample = Sample("ntuple", "background", tuple(sys.argv[3:]), luminosity_fb=1.0)
recipe = ReadRecipe(tuple(f"b{i}" for i in range(int(sys.argv[2]))), luminosity_fb=1.0)
for _ in CachedReader(sample, recipe, Cache(sys.argv[1])).chunks():
    pass
status = Path("/proc/self/status").read_text()  # ru_maxrss would include the process that started this one
print(float(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def _peak_memory_mb(folder: Path, paths: list[Path]) -> float:
    """Peak resident memory of a process of its own that streams the files through a cache."""
    command = [sys.executable, "-c", _STREAM, str(folder), str(N_READ), *map(str, paths)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _measure_memory(folder: Path) -> list[dict[str, Any]]:
    paths = [folder / f"part{i}.root" for i in range(6)]
    for i, path in enumerate(paths):
        _write_file(path, N_ROWS, first=i * N_ROWS)
    one = [_peak_memory_mb(folder / "one", paths[:1]) for _ in range(2)]  # makes the entry, then reads it
    all_of = [_peak_memory_mb(folder / "all", paths) for _ in range(2)]
    return [
        _entry(
            f"peak memory of a stream that {does}, {len(paths)} files of {N_ROWS} rows (MB)",
            of_all,
            "< 1000 MB, and < 1.3 of that for one file",
            f"one file: {of_one:.0f} MB",
            of_all / of_one,
            of_all < 1000 and of_all < 1.3 * of_one,
        )
        for does, of_one, of_all in zip(("makes the entry", "reads the entry"), one, all_of, strict=True)
    ]


def _measure_photons(folder: Path) -> list[dict[str, Any]]:
    from darksieve.datasets.simulation.production import simulate

    path = folder / "photons.root"
    made = simulate("qed_3gamma", path, n_events=N_EVENTS)
    sample = Sample("photons", "background", (path,), luminosity_fb=1.0)
    recipe = ReadRecipe(
        tuple(KINEMATIC_COLUMNS),
        luminosity_fb=1.0,
        pairings=PairingRecipe(("gamma1", "gamma2", "gamma3"), ("px", "py", "pz", "E"), kinematic_fit=True),
        beams=Beams.named("belle2"),
    )
    return _measure(sample, recipe, "photon pairs with kinematic fit", made.n_selected, folder)


def _measure_luminosity(folder: Path) -> list[dict[str, Any]]:
    """Another luminosity reads nothing again."""
    path = folder / "ntuple.root"
    sample = Sample("ntuple", "background", (path,), luminosity_fb=1.0)
    recipe = ReadRecipe(tuple(f"b{i}" for i in range(N_READ)), luminosity_fb=10.0)
    cache = Cache(folder / "luminosities")
    for luminosity_fb in (10.0, 20.0, 711.0):
        CachedReader(sample, replace(recipe, luminosity_fb=luminosity_fb), cache).read()
    n = len(cache.entries())
    return [_entry("entries for three luminosities of one sample", n, "1", "", None, n == 1)]


def measure() -> list[dict[str, Any]]:
    """Every figure of the cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "ntuple.root"
        _write_file(path, N_ROWS)
        sample = Sample("ntuple", "background", (path,), luminosity_fb=1.0)
        columns = tuple(f"b{i}" for i in range(N_READ))
        recipe = ReadRecipe(columns, luminosity_fb=1.0, select="b0 > -1 and abs(b1) < 1.5")
        return [
            *_measure(sample, recipe, "ntuple with a selection", N_ROWS, folder),
            *_measure_photons(folder),
            *_measure_luminosity(folder),
            *_measure_memory(folder),
        ]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
