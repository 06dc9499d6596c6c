"""Limits where they are hard: unbinned data, nearly empty windows, coverage of toy limits.

    python -m benchmarks.limit_checks

The independent fits are those of the tests, loaded from their files: one reference, held in one place.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import limits_of_search, upper_limits

COMMAND = "python -m benchmarks.limit_checks"
TESTS = Path(__file__).parents[1] / "tests" / "evaluation" / "limits"
UNBINNED_AGREEMENT = 2e-3
N_WINDOWS = 400
N_DATA_SETS = 20
N_EXPERIMENTS = 20_000
CONFIDENCE_LEVEL = 0.9


def _from_tests(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unbinned_differences() -> float:
    """Largest relative difference to an unbinned root finding by iminuit, over families and signals."""
    tests = _from_tests("test_unbinned")
    worst = 0.0
    for n_signal in (0, 40):
        rng = np.random.default_rng(7)
        flat = tests.LOW + (tests.HIGH - tests.LOW) * rng.random(600) ** 1.2
        values = np.concatenate([flat, rng.normal(0.5, tests.SIGMA, n_signal)])
        for family, order in (("exponential", None), ("power", None), ("chebyshev", 2), ("bernstein", 2)):
            ours = limits_of_search(SearchModel.parse(tests.document(values, family, order)))
            reference = tests.Reference(values, family, 1 if order is None else order)
            observed, median, _ = reference.limits((ours.observed[0], ours.expected[0, 2]))
            worst = max(worst, abs(ours.observed[0] / observed - 1), abs(ours.expected[0, 2] / median - 1))
    return worst


def binned_differences() -> tuple[float, float]:
    """Rms over data sets of binned over unbinned limit at the default binning: observed, median."""
    tests = _from_tests("test_unbinned")
    observed, median = [], []
    for i in range(N_DATA_SETS):
        rng = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(i,)))
        values = tests.LOW + (tests.HIGH - tests.LOW) * rng.random(600) ** 1.2
        model = SearchModel.parse(tests.document(values, "exponential", None))
        exact, fine = limits_of_search(model), limits_of_search(model, unbinned=False)
        observed.append(fine.observed[0] / exact.observed[0] - 1)
        median.append(fine.expected[0, 2] / exact.expected[0, 2] - 1)
    return float(np.sqrt(np.mean(np.square(observed)))), float(np.sqrt(np.mean(np.square(median))))


def failed_windows() -> int:
    """Windows of one expected background event whose fits or limits fail, over three background families."""
    tests = _from_tests("test_low_counts")
    n_failed = 0
    for background in tests.FAMILIES:
        limits = upper_limits(tests.windows(background, N_WINDOWS, 1.0), minuit_fallback=False)
        good = (np.asarray(limits.status) == "converged") & np.isfinite(limits.observed)
        n_failed += int(np.sum(~good | (limits.observed < 1.85)))
    return n_failed


def coverage(background: float, signal: float) -> float:
    """Share of simulated counting experiments whose toy limit contains the true signal."""
    tests = _from_tests("test_coverage")
    rng = np.random.default_rng(np.random.SeedSequence(9, spawn_key=(int(10 * background),)))
    counts, of_experiment = np.unique(rng.poisson(background + signal, N_EXPERIMENTS), return_inverse=True)
    frequent = np.bincount(of_experiment) > 1e-3 * N_EXPERIMENTS
    # what is left without a toy limit: too few count as not covered, too many as covered
    upper = np.where(counts < background + signal, 0.0, np.inf)
    for i in np.flatnonzero(frequent):
        (point,) = answer_documents(
            [tests.counting(int(counts[i]), background)],
            confidence_level=CONFIDENCE_LEVEL,
            method="toys",
            look_elsewhere=False,
        ).points
        upper[i] = np.nan if point.observed is None else point.observed
    return float(np.mean(upper[of_experiment] >= signal))


def measure() -> list[dict[str, Any]]:
    """The figures, one entry each."""
    common = {"area": "limits", "command": COMMAND, "ratio": None, "peer": None}
    worst = unbinned_differences()
    rms_observed, rms_median = binned_differences()
    n_failed = failed_windows()
    entries = [
        common
        | {
            "name": "unbinned limits, largest difference to an independent root finding",
            "value": worst,
            "bar": UNBINNED_AGREEMENT,
            "peer": "iminuit",
            "passed": bool(worst < UNBINNED_AGREEMENT),
        },
        common
        | {
            "name": f"observed limit, 24 bins per resolution against unbinned, rms of {N_DATA_SETS}",
            "value": rms_observed,
            "bar": "reported",
            "passed": bool(np.isfinite(rms_observed)),
        },
        common
        | {
            "name": f"median expected limit, 24 bins per resolution against unbinned, rms of {N_DATA_SETS}",
            "value": rms_median,
            "bar": 1e-3,
            "passed": rms_median < 1e-3,
        },
        common
        | {
            "name": f"windows of one expected event that fail, of {3 * N_WINDOWS}",
            "value": n_failed,
            "bar": 0,
            "passed": n_failed == 0,
        },
    ]
    for background, signal in ((0.0, 3.0), (0.5, 3.0), (3.0, 4.0), (30.0, 10.0)):
        covered = coverage(background, signal)
        error = np.sqrt(CONFIDENCE_LEVEL * (1 - CONFIDENCE_LEVEL) / N_EXPERIMENTS)
        entries.append(
            common
            | {
                "name": f"coverage of 90 % toy limits, background {background:g}, signal {signal:g}",
                "value": covered,
                "bar": CONFIDENCE_LEVEL,
                "passed": bool(covered > CONFIDENCE_LEVEL - 3 * error),
            }
        )
    return entries


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
