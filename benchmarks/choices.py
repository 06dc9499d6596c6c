"""What effort gains in a preset: no classifier, rectangular cuts, a threshold, one by mass, categories.

The preset `gamma_alp` with a quarter to a half of its simulation and 43 masses. Run alone:
``python -m benchmarks.choices``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.entries import entry
from darksieve.config_loading import load_config
from darksieve.evaluation.comparisons import CHOICES
from darksieve.workflow.chain import run_chain

COMMAND = "python -m benchmarks.choices"
SIZES = {"signal": 250_000, "qed_3gamma": 500_000, "gamma_gamma": 100_000}


def masses() -> list[float]:
    """Both ends of the preset's scan, outside its vetoes."""
    grid = np.unique(np.concatenate([np.geomspace(0.17, 1, 12), np.linspace(1, 9.8, 34)]))
    vetoed = ((grid >= 0.5) & (grid <= 0.6)) | ((grid >= 0.72) & (grid <= 0.84))
    return [round(float(mass), 4) for mass in grid[~vetoed]]


def compared() -> dict[str, Any]:
    """The comparison in ``working_points.json`` of a run."""
    sizes = [f"samples.{name}.settings.n_events={n}" for name, n in SIZES.items()]
    network = ["classifiers.0.folds=2", "classifiers.0.max_rows=150000"]
    scan = ["scan.step_sigma=null", f"scan.masses={masses()}", "tracking.enabled=false"]
    config = load_config("gamma_alp", [*sizes, *network, *scan])
    with tempfile.TemporaryDirectory() as folder:
        run_chain(config, Path(folder) / "run", "optimise")
        document = json.loads((Path(folder) / "run" / "working_points.json").read_text(encoding="utf-8"))
    (entry,) = document["comparison"].values()
    found: dict[str, Any] = entry
    return found


def entries_of(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Order of the choices at every mass, and what they gain on average."""
    limits = {name: np.array(comparison["limits"][name], float) for name in CHOICES}
    errors: dict[str, NDArray] = {n: np.array(e, float) for n, e in comparison["ratio_errors"].items()}
    n_masses = len(comparison["masses"])
    entries = []
    for simpler, better in (("global_threshold", "threshold"), ("threshold", "categories")):
        excess = (limits[better] / limits[simpler] - 1) / errors[simpler]
        entries.append(
            entry(
                "working-points",
                COMMAND,
                f"gamma_alp, {n_masses} masses: limit of {better} over that of {simpler}, largest excess over"
                " 1 in its errors",
                float(excess.max()),
                "< 3 at every mass",
                simpler,
                None,
                bool((excess < 3).all()),
            )
        )
    best = limits["categories"]
    for name in CHOICES[:-1]:
        ratio = limits[name] / best
        entries.append(
            entry(
                "working-points",
                COMMAND,
                f"gamma_alp: limit of {name.replace('_', ' ')} over that of 4 categories, mean"
                f" ({ratio.min():.3f} to {ratio.max():.3f})",
                float(ratio.mean()),
                "> 1",
                name,
                None,
                bool(ratio.mean() > 1),
            )
        )
    return entries


def measure() -> list[dict[str, Any]]:
    """Entries for figures.json."""
    return entries_of(compared())


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
