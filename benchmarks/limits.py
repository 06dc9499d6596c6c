"""The limit engine against iminuit (numba likelihood, analytic gradient) and pyhf, in one run.

Run alone: ``python -m benchmarks.limits``.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.entries import entry
from benchmarks.limit_peers import IminuitLimits, pyhf_model, window_of
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import limits_of_search, upper_limits
from darksieve.evaluation.limits.problem import ProblemBatch
from darksieve.evaluation.limits.toys import toy_cls

COMMAND = "python -m benchmarks.limits"
N_MASSES, N_CHANNELS, N_BINS = 2000, 4, 150
N_TOYS = 10_000  # with signal, and as many without
PEER_MASSES, PYHF_TIMED, PYHF_COMPARED = 20, 2, 50
HALF_WINDOW = 12.5  # sigma
TAILS = {"alpha_left": 1.4, "n_left": 4.0, "alpha_right": 1.8, "n_right": 6.0}
NUISANCES = [
    {"name": "width", "on": "sigma", "kind": "linear", "size": 0.10},
    {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
]


def scan_document(n_masses: int, n_channels: int, order: int, events_per_window: float) -> dict[str, Any]:
    """A falling spectrum in steps of half a resolution: windows of 150 bins, several channels, one signal."""
    sigma, width = 0.01, 2 * HALF_WINDOW * 0.01 / N_BINS
    first = 1.0
    masses = first + 0.5 * sigma * np.arange(n_masses)
    n_bins = round((masses[-1] - first) / width) + 2 * N_BINS
    edges = first - HALF_WINDOW * sigma + width * (np.arange(n_bins + 1) - 0.5 * N_BINS)
    rng = np.random.default_rng(3)
    fall = np.exp(-(edges[:-1] - edges[0]) / (edges[-1] - edges[0]))
    channels = [
        {
            "name": f"c{c}",
            "data": {
                "edges": edges.tolist(),
                "counts": rng.poisson(events_per_window / N_BINS * fall * (1 + 0.2 * c))
                .astype(float)
                .tolist(),
            },
            "background": {"family": "bernstein", "order": order},
        }
        for c in range(n_channels)
    ]
    shape = {"shape": "double_sided_crystal_ball", "sigma": sigma} | TAILS
    points = [
        {
            "label": f"m{i}",
            "mass": float(mass),
            "channels": {
                f"c{c}": shape
                | {
                    "mean": float(mass),
                    "yield_per_unit": 1.0 / n_channels,
                    "window": [float(mass) - HALF_WINDOW * sigma, float(mass) + HALF_WINDOW * sigma],
                }
                for c in range(n_channels)
            },
        }
        for i, mass in enumerate(masses)
    ]
    efficiencies = [
        {
            "name": f"efficiency_{c}",
            "on": "yield",
            "kind": "log_normal",
            "size": 0.08,
            "channels": [f"c{c}"],
        }
        for c in range(n_channels)
    ]
    return {
        "format": "darksieve-search/1",
        "channels": channels,
        "points": points,
        "nuisances": [*NUISANCES, *efficiencies],
    }


def best_of(n: int, function: Callable[[], object]) -> float:
    """Shortest wall time of n calls."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure_scan() -> list[dict[str, Any]]:
    """2000 masses × 4 channels × 150 bins."""
    start = time.perf_counter()
    model = SearchModel.parse(scan_document(N_MASSES, N_CHANNELS, 2, 5000.0))
    parsing = time.perf_counter() - start
    batch = compile_search(model)
    upper_limits(batch.subset(np.arange(4)), errors=False)
    fits = best_of(3, lambda: upper_limits(batch, errors=False))
    whole = best_of(2, lambda: limits_of_search(model, errors=False))
    result = upper_limits(batch, minuit_fallback=False)
    n_failed = sum(status == "failed" for status in result.status)
    what = f"{N_MASSES} masses x {N_CHANNELS} channels x {N_BINS} bins, observed + 5 expected"
    return [
        _entry(f"{what}: fits", fits, "< 1 s", fits < 1.0),
        _entry(f"{what}: templates and fits", whole, "< 2 s", whole < 2.0),
        _entry("reading the document of that scan", parsing, "s", True),
        _entry("problems of that scan that do not converge", n_failed, "0", n_failed == 0),
    ]


def measure_peers() -> list[dict[str, Any]]:
    """One window of 150 bins and 5000 events, per core, against iminuit and pyhf."""
    import pyhf

    model = SearchModel.parse(scan_document(400, 1, 3, 5000.0))
    batch = compile_search(model, morphing="linear")
    ours = upper_limits(batch, threads=1, errors=False)
    seconds = best_of(3, lambda: upper_limits(batch, threads=1, errors=False)) / batch.n_problems
    peers = [IminuitLimits(*window_of(batch, p)) for p in range(PEER_MASSES)]
    peers[0].limits()
    start = time.perf_counter()
    theirs = [peer.limits() for peer in peers]
    minuit = (time.perf_counter() - start) / PEER_MASSES
    difference = max(
        max(abs(ours.observed[p] / observed - 1), np.abs(ours.expected[p] / np.array(expected) - 1).max())
        for p, (observed, expected) in enumerate(theirs)
    )
    pyhf.set_backend("numpy")
    start = time.perf_counter()
    for p in range(PYHF_TIMED):
        scale = float(ours.expected[p, 2])
        window, data = pyhf_model(*window_of(batch, p), scale)
        pyhf.infer.intervals.upper_limits.upper_limit(data, window, scan=None, level=0.05)
    slow = (time.perf_counter() - start) / PYHF_TIMED
    ratio, slow_ratio = minuit / seconds, slow / seconds
    name = "one window, 150 bins, 8 parameters, observed + 5 expected, per core"
    return [
        _entry(
            name, seconds, ">= 150 x iminuit", ratio >= 150, "iminuit, numba likelihood and gradient", ratio
        ),
        _entry(
            name, seconds, ">= 5000 x pyhf", slow_ratio >= 5000, "pyhf 0.7.6, numpy, upper_limit", slow_ratio
        ),
        _entry(
            f"largest relative difference to iminuit, {PEER_MASSES} masses x 6 limits",
            difference,
            "< 1e-3",
            difference < 1e-3,
            "iminuit",
        ),
        _compare_with_pyhf(batch),
        _time_toys(batch, float(ours.observed[0])),
    ]


def _compare_with_pyhf(batch: ProblemBatch) -> dict[str, Any]:
    """pyhf's CLs at our limits, turned into a difference of the limit with the slope of ln CLs."""
    import pyhf

    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-10, maxiter=1000))
    points = np.linspace(0, batch.n_problems - 1, PYHF_COMPARED).astype(np.int64)
    some = batch.subset(points)
    limits = upper_limits(some)
    largest = 0.0
    for p in range(PYHF_COMPARED):
        scale = float(limits.expected[p, 2])
        model, data = pyhf_model(*window_of(some, p), scale)
        for k in (None, 0, 1, 2, 3, 4):
            mu = float(limits.observed[p] if k is None else limits.expected[p, k])
            observed, bands = pyhf.infer.hypotest(
                mu / scale, data, model, test_stat="qtilde", return_expected_set=True
            )
            cls = float(observed if k is None else bands[k])
            near = upper_limits(some.subset(np.array([p])), cls_at=1.01 * mu, errors=False)
            value = near.cls_observed[0] if k is None else near.cls_expected[0, k]
            slope = abs(math.log(value / 0.05) / math.log(1.01))
            largest = max(largest, abs(math.log(cls / 0.05)) / slope)
    name = f"largest relative difference to pyhf, {PYHF_COMPARED} masses x 6 limits"
    return _entry(name, largest, "< 3e-4", largest < 3e-4, "pyhf 0.7.6, numpy")


def _time_toys(batch: ProblemBatch, mu: float) -> dict[str, Any]:
    toy_cls(batch, mu, 10, problems=[0])
    seconds = best_of(2, lambda: toy_cls(batch, mu, N_TOYS, problems=[0]))
    return _entry("2 x 10^4 profiled toys at one strength, 150 bins", seconds, "< 1.5 s", seconds < 1.5)


def measure_memory() -> list[dict[str, Any]]:
    """Peak memory of a fresh process that reads and fits the whole scan."""
    script = (
        "import resource\n"
        "from benchmarks.limits import N_MASSES, N_CHANNELS, scan_document\n"
        "from darksieve.evaluation.limits.document import SearchModel\n"
        "from darksieve.evaluation.limits.engine import limits_of_search\n"
        "document = scan_document(N_MASSES, N_CHANNELS, 2, 5000.0)\n"
        "limits_of_search(SearchModel.parse(document), errors=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    megabytes = float(run.stdout)
    name = f"peak memory of the process, {N_MASSES} masses x {N_CHANNELS} channels (MB)"
    return [_entry(name, megabytes, "< 500 MB", megabytes < 500)]


def _entry(
    name: str, value: float, bar: str, passed: bool, peer: str | None = None, ratio: float | None = None
) -> dict[str, Any]:
    """One figure."""
    return entry("limits", COMMAND, name, value, bar, peer, ratio, passed)


GROUPS = (measure_scan, measure_peers, measure_memory)


def measure() -> list[dict[str, Any]]:
    """All figures of the limit engine, side by side in one run."""
    return [figure for group in GROUPS for figure in group()]


if __name__ == "__main__":
    for group in GROUPS:
        for figure in group():
            print(json.dumps(figure), flush=True)
