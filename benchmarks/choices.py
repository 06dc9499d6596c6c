"""What effort gains in each preset: no classifier, rectangular cuts, a threshold, one by mass, categories.

The presets with their own background model and simulation, or part of it, at fewer masses. Run alone:
``python -m benchmarks.choices``, or ``python -m benchmarks.choices b_to_k_alp`` for some of them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.entries import entry
from darksieve.config_loading import load_config
from darksieve.evaluation.choice_order import ALPHA
from darksieve.workflow.chain import run_chain

COMMAND = "python -m benchmarks.choices"


def photon_masses() -> list[float]:
    """Both ends of the photon presets' scan, outside its vetoes."""
    grid = np.unique(np.concatenate([np.geomspace(0.17, 1, 12), np.linspace(1, 9.8, 34)]))
    vetoed = ((grid >= 0.5) & (grid <= 0.6)) | ((grid >= 0.72) & (grid <= 0.84))
    return [round(float(mass), 4) for mass in grid[~vetoed]]


def overrides() -> dict[str, list[str]]:
    """Preset -> what is smaller here than in its own run."""
    at = ["scan.step_sigma=null", f"scan.masses={photon_masses()}"]
    network = ["classifiers.0.folds=2", "classifiers.0.max_rows=150000"]
    sizes = {"signal": 250_000, "qed_3gamma": 500_000, "gamma_gamma": 100_000}
    photons = [f"samples.{name}.settings.n_events={n}" for name, n in sizes.items()]
    return {
        "gamma_alp": [*photons, *network, *at],
        "gamma_alp_2020": [*photons, "scan.step_sigma=4"],
        "gamma_alp_set": [*network, *at],
        "b_to_k_alp": ["scan.step_sigma=8"],
        "b_to_h_invisible": [],
    }


def compared(preset: str) -> dict[str, Any]:
    """What a run of the preset compares: the fits that cuts were chosen for, by name."""
    config = load_config(preset, [*overrides()[preset], "tracking.enabled=false"])
    with tempfile.TemporaryDirectory() as folder:
        run_chain(config, Path(folder) / "run", "optimise")
        document = json.loads((Path(folder) / "run" / "working_points.json").read_text(encoding="utf-8"))
    if document["comparison_together"] is None or not document["together"]:
        return dict(document["comparison"])
    return {"all channels": document["comparison_together"]}


def entries_of(fit: str, comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Order of the choices at all masses together, and what they gain on average, in a preset's fit."""
    entries = [
        entry(
            "working-points",
            COMMAND,
            f"{fit}: limit of {order['better']} over that of {order['simpler']} at {order['judged']}"
            f" masses: chance of the largest excess, {order['largest_sigma']:.1f} sigma at"
            f" {order['at_mass']:.3g} GeV (beyond 2 sigma {len(order['beyond_2_sigma'])}, by chance"
            f" {order['beyond_2_sigma_by_chance']:.1f})",
            order["p_value_adjusted"],
            f">= {ALPHA}: nowhere worse than chance explains",
            order["simpler"],
            None,
            order["holds"],
        )
        for order in comparison["orders"]
    ]
    limits: dict[str, NDArray] = {n: np.array(values, float) for n, values in comparison["limits"].items()}
    *simpler, best = limits
    # cuts on what a search without a classifier has cut on before may gain nothing
    least = 1 if best == "categories" else 0.98
    for name in simpler:
        ratio = limits[name] / limits[best]
        known = np.isfinite(ratio)
        mean = float(np.exp(np.log(ratio[known]).mean()))
        left_out = "" if known.all() else f", {int((~known).sum())} masses without simulated background"
        entries.append(
            entry(
                "working-points",
                COMMAND,
                f"{fit}: limit of {name.replace('_', ' ')} over that of {best}, mean"
                f" ({ratio[known].min():.3f} to {ratio[known].max():.3f}{left_out})",
                mean,
                f"> {least:g}",
                name,
                None,
                mean > least,
            )
        )
    return entries


def measure(presets: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Entries for figures.json, of all presets or of some."""
    entries = []
    for preset in presets or overrides():
        for fit, comparison in compared(preset).items():
            entries += entries_of(f"{preset}, {fit}", comparison)
    return entries


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=1))
