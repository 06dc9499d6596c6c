"""Speed and exactness of the three-photon simulation, beside flat phase space with accept-reject.

The peer is what a user would write first: massless RAMBO in vectorised numpy, the same matrix element as a
weight, and accept-reject against the largest weight of a pilot run, for the same acceptance.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator, three_photon_matrix_element
from darksieve.datasets.simulation.production import simulate

SQRT_S = 10.58
COMMAND = "python -m benchmarks.simulation"
MIN_EVENTS_PER_SECOND = 80_000
MIN_END_TO_END_PER_SECOND = 50_000  # what leaves the whole `make demo` under its five minutes, with room


def flat_phase_space(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Massless RAMBO for three photons at rest, shape (n, 3, 4).

    References:
        R. Kleiss, W. J. Stirling, S. D. Ellis, Comput. Phys. Commun. 40 (1986) 359.
    """
    cosine, azimuth = rng.uniform(-1, 1, (n, 3)), rng.uniform(0, 2 * np.pi, (n, 3))
    energy = -np.log(rng.random((n, 3)) * rng.random((n, 3)))
    sine = np.sqrt(1 - cosine**2)
    unit = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=-1)
    momenta = energy[..., None] * unit
    total, total_energy = momenta.sum(axis=1), energy.sum(axis=1)
    mass = np.sqrt(total_energy**2 - (total**2).sum(axis=1))
    boost, gamma = -total / mass[:, None], total_energy / mass
    dot = (momenta * boost[:, None]).sum(axis=-1)
    space = momenta + boost[:, None] * (energy + dot / (1 + gamma)[:, None])[..., None]
    photons = np.concatenate([space, (gamma[:, None] * energy + dot)[..., None]], axis=-1)
    return photons * (SQRT_S / mass)[:, None, None]


def _weights(photons: NDArray[np.float64], generator: ThreePhotonGenerator) -> NDArray[np.float64]:
    energy, cosine = photons[..., 3], photons[..., 2] / photons[..., 3]
    inside = (
        (energy > generator.min_energy)
        & (cosine > generator.min_cos_theta)
        & (cosine < generator.max_cos_theta)
    )
    chosen = inside.all(axis=1)
    weights = np.zeros(len(photons))
    weights[chosen] = three_photon_matrix_element(photons[chosen], SQRT_S)
    return weights


def flat_events_per_second(generator: ThreePhotonGenerator, n_points: int = 2_000_000) -> float:
    """Unweighted events per second by flat phase space and accept-reject; the pilot is not timed."""
    rng = np.random.default_rng(1)
    chunk = 100_000
    largest = max(_weights(flat_phase_space(rng, chunk), generator).max() for _ in range(n_points // chunk))
    n_events = 0
    start = time.perf_counter()
    for _ in range(n_points // chunk):
        photons = flat_phase_space(rng, chunk)
        n_events += len(photons[_weights(photons, generator) > largest * rng.random(chunk)])
    return n_events / (time.perf_counter() - start)


def generator_events_per_second(generator: ThreePhotonGenerator, n_events: int = 500_000) -> float:
    """Unweighted events per second of our generator on one core; compilation and survey are not timed."""
    generator.generate(np.random.default_rng(1), 10)
    rng = np.random.default_rng(2)
    start = time.perf_counter()
    generator.generate(rng, n_events)
    return n_events / (time.perf_counter() - start)


def end_to_end_events_per_second(n_events: int = 400_000) -> float:
    """Generated events per second on one core through detector, preselection and ROOT file."""
    with tempfile.TemporaryDirectory() as folder:
        simulate("qed_3gamma", Path(folder) / "warm.root", n_events=100)
        start = time.perf_counter()
        simulate("qed_3gamma", Path(folder) / "qed.root", n_events=n_events)
        return n_events / (time.perf_counter() - start)


def measure() -> list[dict[str, Any]]:
    """The figures of this area, in the form of ``figures.json``."""
    generator = ThreePhotonGenerator(SQRT_S, 0.5, -0.9475, 0.96)
    ours, flat = generator_events_per_second(generator), flat_events_per_second(generator)
    whole = end_to_end_events_per_second()
    barrel = ThreePhotonGenerator(SQRT_S, 0.65, -0.85, 0.85).cross_section_fb / 1e3
    common = {"area": "datasets", "command": COMMAND}
    return [
        common
        | {
            "name": "unweighted QED three-photon events per second and core, generator",
            "value": ours,
            "bar": MIN_EVENTS_PER_SECOND,
            "peer": flat,
            "ratio": ours / flat,
            "passed": ours >= MIN_EVENTS_PER_SECOND,
        },
        common
        | {
            "name": "QED three-photon events per second and core, generator to ROOT file",
            "value": whole,
            "bar": MIN_END_TO_END_PER_SECOND,
            "peer": None,
            "ratio": None,
            "passed": whole >= MIN_END_TO_END_PER_SECOND,
        },
        common
        | {
            "name": "cross section of three photons, |cos θ*| < 0.85, E* > 0.65 GeV, pb (bar: 34.2 ± 0.1)",
            "value": barrel,
            "bar": 34.2,
            "peer": None,
            "ratio": None,
            "passed": abs(barrel - 34.2) < 0.1,
        },
    ]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1, ensure_ascii=False))
