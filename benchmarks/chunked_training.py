"""Models from blocks of rows on disk beside models from one matrix: how they separate, and their memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from typing import Any

from benchmarks.entries import entry

COMMAND = "python -m benchmarks.chunked_training"
_entry = partial(entry, "datasets", COMMAND)
ROWS = (300_000, 1_200_000)
ROWS_OF_NETWORK = (300_000, 1_200_000, 3_000_000)
N_FEATURES = 58
OPTIONS = {
    "bdt": {"n_trees": 100, "max_depth": 4, "learning_rate": 0.1, "patience": 0},
    "photon_network": {"epochs": 3, "mass_feature": "x0", "patience": 0},
}

_TRAIN = f"""
import sys, time
from pathlib import Path
import numpy as np
from sklearn.metrics import roc_auc_score
from darksieve.datasets.events import Events, Role, SampleInfo, concatenate
from darksieve.datasets.mapped_columns import keep_on_disk
from darksieve.training.folds_training import train_bundle

mode, n_rows, folder, model = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
names = tuple(f"x{{i}}" for i in range({N_FEATURES}))


def chunks():
    # invented: the first six features differ between the classes in mean, six in width, the others not
    for start in range(0, n_rows, 50_000):
        n = min(50_000, n_rows - start)
        signal = int(start % 100_000 >= 50_000)
        rng = np.random.default_rng(start)
        group = np.arange({N_FEATURES}) // 6
        shift, scale = np.where(group == 0, 0.5 * signal, 0), np.where(group == 1, 1 + 0.3 * signal, 1)
        values = rng.normal(shift, scale, (n, {N_FEATURES})).astype(np.float32)
        yield Events(
            columns={{name: values[:, i] for i, name in enumerate(names)}},
            samples=(SampleInfo(f"class {{signal}}", Role.SIGNAL if signal else Role.BACKGROUND),),
            sample_index=np.zeros(n, np.int16), weight=np.ones(n), mass=np.full(n, np.nan),
            key=rng.integers(0, 2**63, n).astype(np.uint64), candidate=np.zeros(n, np.int32),
        )


start = time.process_time()
events = concatenate(chunks()) if mode == "matrix" else keep_on_disk(chunks(), folder)
read = time.process_time()
bundle, scores, _ = train_bundle(
    events, model=model, features=names, n_folds=2, mass_column=None, checkpoint_dir=Path(folder) / "fit",
    options={OPTIONS}[model],
    rows_per_block=None if mode == "matrix" else 65_536,
)
trained = time.process_time()
auc = roc_auc_score(scores.is_signal, scores.score)
status = Path("/proc/self/status").read_text()  # ru_maxrss would include the process that started this one
peak = float(status.split("VmHWM:")[1].split()[0]) / 1024
print(auc, peak, trained - read)
"""


def _trained(mode: str, n_rows: int, model: str = "bdt") -> tuple[float, float, float]:
    """Out-of-fold AUC, peak memory in MB and CPU seconds of two folds, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _TRAIN, mode, str(n_rows), folder, model]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    auc, peak, seconds = map(float, done.stdout.split())
    return auc, peak, seconds


def measure_trees() -> list[dict[str, Any]]:
    """Both ways at two sizes; the growth is what a million more rows cost."""
    small, large = ROWS
    matrix = {n: _trained("matrix", n) for n in ROWS}
    blocks = {n: _trained("blocks", n) for n in ROWS}
    difference = abs(blocks[large][0] - matrix[large][0])
    growth = {
        name: (of[large][1] - of[small][1]) / (large - small) * 1e6
        for name, of in (("matrix", matrix), ("blocks", blocks))
    }
    return [
        _entry(
            f"AUC of trees from blocks, difference from one matrix, {large:.2g} rows x {N_FEATURES}, 2 folds",
            difference,
            "< 1e-3",
            f"AUC {blocks[large][0]:.5f} and {matrix[large][0]:.5f}",
            None,
            difference < 1e-3,
        ),
        _entry(
            "memory of training from blocks (MB per million rows)",
            growth["blocks"],
            "< 150",
            f"one matrix in memory: {growth['matrix']:.0f} MB per million rows; "
            f"peaks {blocks[large][1]:.0f} and {matrix[large][1]:.0f} MB",
            growth["blocks"] / growth["matrix"],
            growth["blocks"] < 150,
        ),
        _entry(
            f"CPU of training from blocks, {large:.2g} rows, relative to one matrix",
            blocks[large][2] / matrix[large][2],
            "< 2",
            f"{blocks[large][2]:.1f} s and {matrix[large][2]:.1f} s, 100 trees of depth 4, 2 folds",
            blocks[large][2] / matrix[large][2],
            blocks[large][2] / matrix[large][2] < 2,
        ),
    ]


def measure_network() -> list[dict[str, Any]]:
    """A network from blocks of 1, 4 and 10 times as many rows, and from one matrix of 1 and 4 times."""
    small, large, largest = ROWS_OF_NETWORK
    blocks = {n: _trained("blocks", n, "photon_network") for n in ROWS_OF_NETWORK}
    matrix = {n: _trained("matrix", n, "photon_network") for n in (small, large)}
    difference = abs(blocks[large][0] - matrix[large][0])
    error = (blocks[large][0] * (1 - blocks[large][0]) / (large / 2)) ** 0.5  # of one AUC, somewhat high
    growth = (blocks[largest][1] - blocks[small][1]) / (largest - small) * 1e6
    of_matrix = (matrix[large][1] - matrix[small][1]) / (large - small) * 1e6
    peaks = ", ".join(f"{blocks[n][1]:.0f} MB with {n / 1e6:g}" for n in ROWS_OF_NETWORK)
    return [
        _entry(
            f"AUC of a network from blocks, difference from one matrix, {large:.2g} x {N_FEATURES}, 2 folds",
            difference,
            "< 1e-3",
            f"AUC {blocks[large][0]:.5f} and {matrix[large][0]:.5f}; the error of each is {error:.5f}",
            None,
            difference < 1e-3,
        ),
        _entry(
            "memory of training a network from blocks (MB per million rows)",
            growth,
            "< 150",
            f"one matrix in memory: {of_matrix:.0f} MB per million rows; peaks {peaks} million rows",
            growth / of_matrix,
            growth < 150,
        ),
        _entry(
            f"CPU of training a network from blocks, {large:.2g} rows, relative to one matrix",
            blocks[large][2] / matrix[large][2],
            "< 2",
            f"{blocks[large][2]:.1f} s and {matrix[large][2]:.1f} s, 3 epochs, 2 folds",
            blocks[large][2] / matrix[large][2],
            blocks[large][2] / matrix[large][2] < 2,
        ),
    ]


def measure() -> list[dict[str, Any]]:
    """Trees and networks."""
    return [*measure_trees(), *measure_network()]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
