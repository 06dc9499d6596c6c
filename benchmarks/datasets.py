"""Speed of reading beside plain uproot, its memory, and the speed of pairing and of the kinematic fit."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

from benchmarks.entries import entry
from benchmarks.timing import interleaved_seconds
from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import KINEMATIC_COLUMNS, PairingRecipe, build_candidates
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role
from darksieve.datasets.kinematic_fit import PhotonResolution, fit_photons
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader

COMMAND = "python -m benchmarks.datasets"
_entry = partial(entry, "datasets", COMMAND)
N_ROWS = 600_000
N_BRANCHES = 40
N_READ = 24
REPETITIONS = 5
N_FILES = 8
CLUSTER_ROWS = (50_000, 5_000, N_ROWS)  # as chunks are, many clusters, one
SELECT = "b0 > -1 and abs(b1) < 1.5"
KEY = ("__experiment__", "__run__", "__event__", "__candidate__")
NEEDED = {*KEY, *(f"b{i}" for i in range(N_READ))}
LARGE_SET = 10e9  # bytes
BAR = "> 0.70 of plain uproot's speed"


def _chunks(n_rows: int, n_at_once: int = 50_000) -> Iterator[dict[str, np.ndarray]]:
    """Rows of a ntuple of float32 branches."""
    rng = np.random.default_rng(1)
    for start in range(0, n_rows, n_at_once):
        n = min(n_at_once, n_rows - start)
        columns: dict[str, np.ndarray] = {f"b{i}": rng.normal(size=n).astype("f4") for i in range(N_BRANCHES)}
        columns |= {name: np.ones(n, dtype="i4") for name in ("__experiment__", "__run__", "__candidate__")}
        columns["__event__"] = np.arange(start, start + n, dtype="u4")
        yield columns


def _write_file(path: Path, n_rows: int = N_ROWS) -> None:
    """A TTree, ZSTD-1, baskets of 50k rows."""
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        tree = None
        for columns in _chunks(n_rows):
            if tree is None:
                tree = file.mktree("ntuple", {name: values.dtype for name, values in columns.items()})
            tree.extend(columns)


def _write_rntuple(path: Path, cluster_rows: int, n_rows: int = N_ROWS) -> None:
    """An RNTuple, ZSTD-1."""
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        ntuple = None
        for columns in _chunks(n_rows, cluster_rows):
            if ntuple is None:
                ntuple = file.mkrntuple("ntuple", columns)
            else:
                ntuple.extend(columns)


def _write_parquet(path: Path, n_rows: int = N_ROWS) -> None:
    """Parquet, ZSTD-1, row groups of 50k rows."""
    schema = pa.table(next(_chunks(1))).schema
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for columns in _chunks(n_rows):
            writer.write_table(pa.table(columns))


def _recipe(**more: Any) -> ReadRecipe:
    return ReadRecipe(tuple(f"b{i}" for i in range(N_READ)), luminosity_fb=1.0, select=SELECT, **more)


def _sample(path: Path) -> Sample:
    return Sample("qed", Role.BACKGROUND, (path,), luminosity_fb=1.0)


def measure_reading() -> list[dict[str, Any]]:
    """Reading with a selection, relative to plain uproot on the same branches and file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ntuple.root"
        _write_file(path)
        sample, recipe = _sample(path), _recipe()

        def plain() -> None:
            with uproot.open(path) as file:
                for _ in file["ntuple"].iterate(
                    filter_name=lambda n: n in NEEDED, step_size=50_000, library="np"
                ):
                    pass

        def plain_with_selection() -> None:
            with uproot.open(path) as file:
                for c in file["ntuple"].iterate(
                    filter_name=lambda n: n in NEEDED, step_size=50_000, library="np"
                ):
                    passed = (c["b0"] > -1) & (np.abs(c["b1"]) < 1.5)
                    _ = {name: values[passed] for name, values in c.items()}

        def ours() -> None:
            for _ in SampleReader(sample, recipe).chunks():
                pass

        def plain_in_memory() -> None:
            with uproot.open(path) as file:
                file["ntuple"].arrays(filter_name=lambda n: n in NEEDED, library="np")

        def ours_in_memory() -> None:
            SampleReader(sample, recipe).read()

        plain_s, selected_s, ours_s, plain_memory_s, ours_memory_s = interleaved_seconds(
            plain, plain_with_selection, ours, plain_in_memory, ours_in_memory, repetitions=REPETITIONS
        )
        peaks = [_peak_memory_mb(path, n_files)[0] for n_files in (1, N_FILES)]
    return [
        _entry(
            "reading and selection as a stream, duplicates searched (rows/s)",
            N_ROWS / ours_s,
            BAR,
            f"uproot.iterate on the same branches {N_ROWS / plain_s:.3g} rows/s; "
            f"with the selection in numpy {N_ROWS / selected_s:.3g} rows/s",
            plain_s / ours_s,
            plain_s / ours_s > 0.70,
        ),
        _entry(
            "reading and selection of a whole sample, duplicates searched (rows/s)",
            N_ROWS / ours_memory_s,
            BAR,
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


def measure_other_formats() -> list[dict[str, Any]]:
    """RNTuple and Parquet as a stream, relative to their plain readers on the same columns and file."""
    with tempfile.TemporaryDirectory() as folder:
        rntuples = {rows: Path(folder) / f"rntuple{rows}.root" for rows in CLUSTER_ROWS}
        parquet = Path(folder) / "table.parquet"
        for rows, path in rntuples.items():
            _write_rntuple(path, rows)
        _write_parquet(parquet)

        def plain_rntuple(path: Path) -> None:
            with uproot.open(path) as file:
                for _ in file["ntuple"].iterate(
                    filter_name=lambda n: n in NEEDED, step_size=50_000, library="np"
                ):
                    pass

        def plain_parquet() -> None:
            with pq.ParquetFile(parquet) as file:
                for batch in file.iter_batches(50_000, columns=sorted(NEEDED)):
                    _ = [column.to_numpy(zero_copy_only=False) for column in batch.columns]

        def ours(path: Path) -> None:
            for _ in SampleReader(_sample(path), _recipe()).chunks():
                pass

        runs: list[Callable[[], Any]] = []
        for path in rntuples.values():
            runs += [partial(plain_rntuple, path), partial(ours, path)]
        seconds = interleaved_seconds(*runs, plain_parquet, lambda: ours(parquet), repetitions=REPETITIONS)
    names = [(f"RNTuple in clusters of {rows} rows", "uproot's iterate") for rows in CLUSTER_ROWS]
    entries = []
    for (name, peer), plain_s, ours_s in zip(
        [*names, ("Parquet", "pyarrow's iter_batches, to numpy")], seconds[::2], seconds[1::2], strict=True
    ):
        entries.append(
            _entry(
                f"reading and selection of {name} as a stream, duplicates searched (rows/s)",
                N_ROWS / ours_s,
                f"> 0.70 of the speed of {peer}",
                f"{peer} on the same columns {N_ROWS / plain_s:.3g} rows/s, nothing selected",
                plain_s / ours_s,
                plain_s / ours_s > 0.70,
            )
        )
    return entries


def measure_large_set() -> list[dict[str, Any]]:
    """Peak memory on 10 GB of files: one file under many names, so its rows are repeated and kept.

    The search for duplicates, which would refuse them, is measured apart, on as many different rows.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ntuple.root"
        _write_file(path)
        n_files = int(np.ceil(LARGE_SET / path.stat().st_size))
        size_gb = n_files * path.stat().st_size / 1e9
        start = time.perf_counter()
        peak, n_kept = _peak_memory_mb(path, n_files, SELECT)
        seconds = time.perf_counter() - start
    marks_mb = float(_own_process(_SEARCH, str(n_kept))[0])
    return [
        _entry(
            f"peak memory of the stream, {size_gb:.3g} GB of files, {n_files * N_ROWS} rows (MB)",
            peak,
            "< 1000 MB",
            f"{n_kept} rows selected in {seconds:.0f} s",
            None,
            peak < 1000,
        ),
        _entry(
            f"the same and the search for duplicates among {n_kept} rows (MB)",
            peak + marks_mb,
            "< 1000 MB",
            f"the search alone: {marks_mb:.0f} MB",
            None,
            peak + marks_mb < 1000,
        ),
    ]


_STREAM = """
import sys
from pathlib import Path
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
sample = Sample("qed", "background", tuple(sys.argv[3:]), luminosity_fb=1.0)
columns = tuple(f"b{i}" for i in range(int(sys.argv[1])))
recipe = ReadRecipe(columns, luminosity_fb=1.0, select=sys.argv[2] or None, duplicates="keep")
n = sum(len(events) for events in SampleReader(sample, recipe).chunks())
status = Path("/proc/self/status").read_text()  # ru_maxrss would include the process that started this one
print(float(status.split("VmHWM:")[1].split()[0]) / 1024, n)
"""
_SEARCH = """
import sys
from pathlib import Path
import numpy as np
from darksieve.datasets.duplicates import DuplicateSearch
def status(name):
    return float(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024
rng, n, before = np.random.default_rng(1), int(sys.argv[1]), status("VmRSS")
search = DuplicateSearch()
for start in range(0, n, 50_000):
    search.add(rng.integers(0, 2**64, min(50_000, n - start), dtype=np.uint64))
assert search.repeated()[1] == 0
print(status("VmHWM") - before)
"""


def _own_process(code: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _peak_memory_mb(path: Path, n_files: int, select: str = "") -> tuple[float, int]:
    """Peak resident memory of a process that streams the file under several names, and rows it kept."""
    paths = [path.with_name(f"copy{i}.root") for i in range(n_files)]
    for link in paths:
        if not link.exists():
            link.hardlink_to(path)
    peak, n_kept = _own_process(_STREAM, str(N_READ), select, *map(str, paths))
    return float(peak), int(n_kept)


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
    (t_pair,) = interleaved_seconds(
        lambda: build_candidates(columns, recipe, beams, wanted=wanted), repetitions=REPETITIONS
    )
    (t_fit,) = interleaved_seconds(lambda: fit_photons(momenta, beams), repetitions=REPETITIONS)
    return [
        _entry("pairing of three photons (events/s)", n / t_pair, ">= 3e5", "", None, n / t_pair >= 3e5),
        _entry("kinematic fit (events/s)", n / t_fit, ">= 1e5", "", None, n / t_fit >= 1e5),
    ]


def measure() -> list[dict[str, Any]]:
    """Every figure of the datasets."""
    return [
        *measure_reading(),
        *measure_other_formats(),
        *measure_large_set(),
        *measure_candidates(),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
