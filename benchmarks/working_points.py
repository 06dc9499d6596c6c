"""Working points: 10³ masses × 10² cuts on the expected limit, against a loop over masses and cuts with
scipy.

Run alone: ``python -m benchmarks.working_points``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from darksieve.datasets.folds import part_of
from darksieve.evaluation.choosing import choose_working_points
from darksieve.evaluation.landscape import cut_landscape

N_MASSES, N_CUTS = 1000, 100
N_SIGNAL, N_BACKGROUND = 200_000, 1_000_000
LOW, HIGH = 0.2, 9.8  # GeV
PEER_MASSES = 4  # the loop is timed on so many masses and scaled up
COMMAND = "python -m benchmarks.working_points"


@dataclass(frozen=True, eq=False)
class GaussianScores:
    """Scored candidates whose score is the exact likelihood ratio of two Gaussians, 1.2 … 1.6 apart."""

    key: NDArray
    label: NDArray
    weight: NDArray
    mass: NDArray
    observable: NDArray
    part: NDArray
    score: NDArray


def resolution(masses: NDArray) -> NDArray:
    return 0.010 + 0.0008 * np.asarray(masses)


def separation(masses: NDArray) -> NDArray:
    return 1.6 - 0.04 * np.asarray(masses)


def make_scores(seed: int = 0) -> GaussianScores:
    generator = np.random.default_rng(seed)
    mass = generator.uniform(LOW, HIGH, N_SIGNAL)
    signal = mass + resolution(mass) * generator.normal(size=N_SIGNAL)
    background = generator.uniform(LOW - 0.1, HIGH + 0.1, N_BACKGROUND)
    observable = np.concatenate([signal, background])
    distance = separation(np.concatenate([mass, background]))
    latent = generator.normal(size=len(observable))
    latent[:N_SIGNAL] += distance[:N_SIGNAL]
    score = 1 / (1 + np.exp(-(distance * latent - distance**2 / 2)))
    key = generator.integers(0, 2**63, len(observable)).astype(np.uint64)
    return GaussianScores(
        key=key,
        label=np.repeat([1.0, 0.0], [N_SIGNAL, N_BACKGROUND]),
        weight=np.repeat([0.3 * (HIGH - LOW) / N_SIGNAL, 10.0], [N_SIGNAL, N_BACKGROUND]),
        mass=np.concatenate([mass, np.full(N_BACKGROUND, np.nan)]),
        observable=observable,
        part=part_of(key),
        score=score.astype(np.float32),
    )


def loop_with_scipy(scores: GaussianScores, masses: NDArray, kept_signal: NDArray) -> NDArray:
    """Median expected limits written by hand: masks, sums and a root search for each mass and cut."""
    chosen = scores.part == "quote"
    target = norm.isf(0.025) ** 2
    limits = np.empty((len(masses), len(kept_signal)))
    for i, mass in enumerate(masses):
        half = 2 * resolution(mass)
        near = chosen & (np.abs(scores.observable - mass) < half)
        signal_here = near & (scores.label == 1) & (np.abs(scores.mass - mass) < half)
        ordered = np.sort(scores.score[signal_here])[::-1]
        for j, share in enumerate(kept_signal):
            threshold = ordered[min(int(share * len(ordered)), len(ordered) - 1)]
            s = 0.28 * share
            b = 2 * np.sum(scores.weight[near & (scores.label == 0) & (scores.score >= threshold)])
            b = max(b, 1e-9)

            def excess(mu: float, s: float = s, b: float = b) -> float:
                return 2 * (mu * s - b * np.log1p(mu * s / b)) - target

            limits[i, j] = brentq(excess, 0, 1e9)
    return limits


def measure() -> list[dict[str, Any]]:
    """Entries for figures.json."""
    scores = make_scores()
    masses = np.linspace(LOW + 0.1, HIGH - 0.1, N_MASSES)
    cut_landscape(scores, masses[:3], resolution, n_cuts=N_CUTS)  # loads the compiled kernels
    start = time.perf_counter()
    landscape = cut_landscape(scores, masses, resolution, n_cuts=N_CUTS, objective="expected_limit_counting")
    of_landscape = time.perf_counter() - start
    picked = np.linspace(0, N_MASSES - 1, PEER_MASSES).astype(int)
    start = time.perf_counter()
    by_hand = loop_with_scipy(scores, masses[picked], landscape.kept_signal)
    of_loop = (time.perf_counter() - start) * N_MASSES / PEER_MASSES
    agreement = float(np.nanmedian(np.abs(landscape.value[picked] / by_hand - 1)))

    def entry(name: str, value: float, bar: str, passed: bool, **more: Any) -> dict[str, Any]:
        return {
            "area": "working-points",
            "name": name,
            "value": value,
            "bar": bar,
            "peer": None,
            "ratio": None,
            "command": COMMAND,
            "passed": passed,
            **more,
        }

    entries = [
        entry(
            "expected limit of 1000 masses x 100 cuts, 600k candidates, seconds",
            of_landscape,
            "< 30",
            of_landscape < 30,
            peer=f"loop with scipy.brentq, {PEER_MASSES} masses scaled up: {of_loop:.0f} s; "
            f"median difference {agreement:.1%}",
            ratio=of_loop / of_landscape,
        )
    ]
    for kind, n in (("threshold", 1), ("categories", 4)):
        start = time.perf_counter()
        points = choose_working_points(scores, masses, resolution, kind=kind, n_categories=n)
        seconds = time.perf_counter() - start
        entries.append(
            entry(
                f"choose and quote {kind} ({n}) at 1000 masses, 1.2M candidates, with errors, seconds",
                seconds,
                "< 30",
                seconds < 30,
            )
        )
        optimism, error = points.choice["mean_optimism"], points.choice["mean_optimism_error"]
        entries.append(
            entry(
                f"mean optimism of {kind} ({n}) - 1, error {error:.4f}",
                optimism - 1,
                "< 0.01",
                optimism - 1 < 0.01,
            )
        )
    return entries


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
