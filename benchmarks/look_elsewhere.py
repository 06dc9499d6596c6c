"""Global p-value of the largest excess: toys of a scan, screened by a linear score, beside full fits."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.entries import entry
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.look_elsewhere import gross_vitells
from darksieve.evaluation.limits.scan_toys import full_significances, linear_scores, scan_toys, share, throw

COMMAND = "python -m benchmarks.look_elsewhere"
N_TOYS = 10_000
N_MASSES = 500
N_FULL = 200  # toys that are fitted in full at every mass, for comparison
SIGMA = 0.01  # GeV
EVENTS_PER_BIN = 25.0
INJECTED = 90.0  # events: an excess of some three standard deviations
BAR_SECONDS = 5.0


def make_scan(
    n_masses: int = N_MASSES, *, seed: int = 7, events_per_bin: float = EVENTS_PER_BIN
) -> SearchModel:
    """A falling spectrum scanned in steps of half the resolution, windows of ±12.5σ and 6 bins per σ."""
    rng = np.random.default_rng(seed)
    masses = 1 + SIGMA / 2 * np.arange(n_masses)
    edges = np.arange(masses[0] - 13 * SIGMA, masses[-1] + 13 * SIGMA, SIGMA / 6)
    middle = (edges[1:] + edges[:-1]) / 2
    expected = events_per_bin * np.exp(-(middle - 1) / 3)
    pull = (middle - masses[n_masses // 2]) / SIGMA
    expected += INJECTED * np.exp(-0.5 * pull**2) / np.sqrt(2 * np.pi) / 6
    counts = rng.poisson(expected).astype(float)
    points = [
        {
            "label": f"m{m:.3f}",
            "mass": m,
            "channels": {
                "c": {
                    "window": [m - 12.5 * SIGMA, m + 12.5 * SIGMA],
                    "yield_per_unit": 1.0,
                    "shape": "double_sided_crystal_ball",
                    "mean": m,
                    "sigma": SIGMA,
                    "alpha_left": 1.4,
                    "n_left": 4.0,
                    "alpha_right": 1.8,
                    "n_right": 6.0,
                }
            },
        }
        for m in masses.tolist()
    ]
    channel = {
        "name": "c",
        "data": {"edges": edges.tolist(), "counts": counts.tolist()},
        "background": {"family": "chebyshev", "order": 3},
    }
    nuisances = [
        {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.05},
        {"name": "width", "on": "sigma", "kind": "linear", "size": 0.1},
        {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
    ]
    document = {
        "format": "darksieve-search/1",
        "channels": [channel],
        "points": points,
        "nuisances": nuisances,
    }
    return SearchModel.parse(document)


def measure(n_toys: int = N_TOYS, n_masses: int = N_MASSES) -> list[dict[str, Any]]:
    """Time of the screened toys (compilation excluded, laying out included) and agreement with full fits."""
    model = make_scan(n_masses)
    scan_toys(model, n_toys=20, seed=0)  # compile
    start = time.perf_counter()
    found = scan_toys(model, n_toys=n_toys, seed=1)
    seconds = time.perf_counter() - start

    scan = share(model)
    toys = throw(scan, min(N_FULL, n_toys), 1, 0)
    toy, point = (grid.ravel() for grid in np.indices((len(toys), n_masses)))
    start = time.perf_counter()
    full = full_significances(scan, toys, toy, point).reshape(len(toys), n_masses)
    full_seconds = (time.perf_counter() - start) * n_toys / len(toys)
    screened = linear_scores(scan, toys).max(axis=1) > found.significance - 0.7
    above = full.max(axis=1) >= found.significance
    missed = int(np.sum(above & ~screened))
    bound, _ = gross_vitells(found.significance, found.n_crossings)
    return [
        entry(
            "limits",
            COMMAND,
            f"global p-value, {n_toys} toys x {n_masses} masses (s)",
            seconds,
            f"< {BAR_SECONDS:g} s",
            peer=f"full fits of all toys and masses: {full_seconds:.0f} s (from {len(toys)} toys)",
            ratio=full_seconds / seconds,
            passed=seconds < BAR_SECONDS,
        ),
        entry(
            "limits",
            COMMAND,
            "global p-value: toys with a larger excess that the screen misses",
            missed,
            f"0 of {int(above.sum())} in {len(toys)} toys fitted in full",
            peer=f"p = {found.p_global:.4f} ± {found.p_global_error:.4f} at Z = {found.significance:.2f}; "
            f"Gross-Vitells {bound:.4f}",
            passed=missed == 0,
        ),
    ]


if __name__ == "__main__":
    for figure in measure():
        print(figure)
