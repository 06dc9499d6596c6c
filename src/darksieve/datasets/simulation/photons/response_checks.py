"""The toy calorimeter's response to single photons, against the config's resolution put on by other code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from darksieve.datasets.simulation.photons.clusters import PHOTON
from darksieve.datasets.simulation.photons.detector import Detector, Selection
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.photons.sources import photon_with_resonance
from darksieve.datasets.simulation.validation import (
    Check,
    Curve,
    Floats,
    Series,
    grouped_error,
    half_width,
    known,
)

N_PHOTON_EVENTS = 150_000
ENERGY_EDGES = np.array([0.15, 0.25, 0.4, 0.65, 1.0, 1.6, 2.5, 4.0, 6.0])  # GeV in the laboratory
MIN_ROWS = 500


def smeared_energies(rng: np.random.Generator, detector: Detector, energy: Floats) -> Floats:
    """Measured energies by the config's response, in plain numpy: what the fast kernel is held to."""
    sigma = detector.energy_resolution(energy)
    leaks = rng.random(energy.shape) < detector.low_tail_fraction
    loss = detector.low_tail_sigmas * rng.standard_exponential(energy.shape)
    return energy * (1 + sigma * (rng.standard_normal(energy.shape) - leaks * loss))


def response_checks(settings: PhotonSettings, rng: np.random.Generator) -> tuple[list[Check], list[Curve]]:
    """Energy and direction of single photons of known truth."""
    detector = replace(
        settings.detector, beam_background_mean=0.0, split_off_probability=0.0, merge_angle_rad=0.0
    )
    beams = settings.beams
    generated = photon_with_resonance(
        rng, beams.sqrt_s, beams.sqrt_s * rng.uniform(0.05, 0.9, N_PHOTON_EVENTS)
    )
    measured = measure(
        rng,
        generated,
        beams=beams,
        detector=detector,
        selection=Selection(min_energy_cms=0.05, min_energy_lab=0.05, clusters="at_least"),
    )
    chosen = (measured.kind == PHOTON) & (measured.photon >= 0)
    true = beams.to_lab(generated[measured.event[:, None], measured.photon])[chosen]
    seen = measured.momenta[chosen]
    energy = true[:, 3]
    ratio = seen[:, 3] / energy
    angle = opening_angles(true, seen)
    many = np.tile(energy, 4)
    expected_ratio = smeared_energies(rng, detector, many) / many
    widths = by_bin(energy, ENERGY_EDGES, ratio, half_width)
    references = by_bin(many, ENERGY_EDGES, expected_ratio, half_width)
    # two Gaussian components make a Rayleigh distribution, whose median is 1.1774 sigma
    expected_angle = detector.angle_resolution(energy) * np.hypot(*rng.standard_normal((2, len(energy))))
    angles = by_bin(energy, ENERGY_EDGES, angle, _rayleigh_width)
    angle_references = by_bin(energy, ENERGY_EDGES, expected_angle, _rayleigh_width)
    source = (
        "σ_E/E of the config (CsI(Tl) calorimeter of Belle, from memory) with its low tail (illustrative)"
    )
    checks = []
    for i in (2, 4, 6):
        if not known(widths[i], references[i]):
            continue
        where = f"{ENERGY_EDGES[i]:g} to {ENERGY_EDGES[i + 1]:g} GeV"
        checks.append(
            Check.compare(
                f"photon energy resolution, {where}",
                widths[i, 1:],
                references[i, 1:],
                "%",
                source,
                scale=100,
            )
        )
    i = 4
    if known(angles[i], angle_references[i]):
        checks.append(
            Check.compare(
                f"photon direction resolution, {ENERGY_EDGES[i]:g} to {ENERGY_EDGES[i + 1]:g} GeV",
                angles[i, 1:],
                angle_references[i, 1:],
                "mrad",
                "position resolution of the config at its radius (CsI(Tl), from memory)",
                scale=1e3,
            )
        )
    recoil = generated[:, 0]
    cosine2, error = grouped_error((recoil[:, 2] / recoil[:, 3]) ** 2, lambda c: float(np.mean(c)))
    checks.append(Check("mean cos²θ* of the photon in e+e- → γa", cosine2, error, 0.4, 0.0, "1", "1 + cos²θ"))
    grid = np.geomspace(ENERGY_EDGES[0], ENERGY_EDGES[-1], 60)
    curves = [
        Curve(
            "photon_energy_resolution",
            "Photon energy resolution",
            "True photon energy in the laboratory [GeV]",
            "Half width of 68 % of E/E(true) [%]",
            (
                Series.of("simulated", widths[:, 0], 100 * widths[:, 1], 100 * widths[:, 2]),
                Series.of("config, smeared in numpy", references[:, 0], 100 * references[:, 1]),
                Series.of("config, Gaussian core", grid, 100 * detector.energy_resolution(grid)),
            ),
            "Photon energy resolution falling with energy; points on the line of the config.",
            log_x=True,
        ),
        Curve(
            "photon_angle_resolution",
            "Photon direction resolution",
            "True photon energy in the laboratory [GeV]",
            "σ of θ, and of φ sin θ [mrad]",
            (
                Series.of("simulated", angles[:, 0], 1e3 * angles[:, 1], 1e3 * angles[:, 2]),
                Series.of("config", grid, 1e3 * detector.angle_resolution(grid)),
            ),
            "Photon direction resolution falling with energy; points on the line of the config.",
            log_x=True,
        ),
    ]
    return checks, curves


def _rayleigh_width(angles: Floats) -> float:
    return float(np.median(angles)) / 1.17741


def opening_angles(first: Floats, second: Floats) -> Floats:
    """Angles between momenta, shape (n,), exact where they are small."""
    a = first[:, :3] / np.linalg.norm(first[:, :3], axis=1)[:, None]
    b = second[:, :3] / np.linalg.norm(second[:, :3], axis=1)[:, None]
    return 2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=1) / 2, 0, 1))


def by_bin(x: Floats, edges: Floats, values: Floats, statistic: Callable[[Floats], float]) -> Floats:
    """Median x, statistic and its error in each bin, shape (n_bins, 3); NaN where a bin is nearly empty."""
    out = np.full((len(edges) - 1, 3), np.nan)
    for i in range(len(edges) - 1):
        inside = (edges[i] <= x) & (x < edges[i + 1])
        if inside.sum() >= MIN_ROWS:
            out[i] = (float(np.median(x[inside])), *grouped_error(values[inside], statistic))
    return out
