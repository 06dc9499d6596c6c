"""Validation of the photons-only processes: rates, the toy calorimeter's response, masses of photon pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import ALPHA_QED, ETA_MASS, ETA_PRIME_MASS, GEV2_TO_FB
from darksieve.datasets.candidates import RAW_MOMENTUM, photon_momenta
from darksieve.datasets.simulation.decays import direction, massless
from darksieve.datasets.simulation.photons.clusters import PHOTON
from darksieve.datasets.simulation.photons.columns import PHOTON_NAMES
from darksieve.datasets.simulation.photons.detector import Detector, Selection
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.photons.sources import TwoPhotonSource, photon_with_resonance, pole_cosine
from darksieve.datasets.simulation.validation import (
    Check,
    Curve,
    Floats,
    Series,
    SimulatedFile,
    Validation,
    grouped_error,
    half_width,
    known,
)

N_PHOTON_EVENTS = 150_000
N_TWO_PHOTON_EVENTS = 400_000
ENERGY_EDGES = np.array([0.15, 0.25, 0.4, 0.65, 1.0, 1.6, 2.5, 4.0, 6.0])  # GeV in the laboratory
MASS_EDGES = np.array([0.2, 0.4, 0.7, 1.2, 2.0, 3.0, 4.0, 5.5, 7.0, 8.5, 9.8])  # GeV
_MIN_ROWS = 500
# smearing measured photons once more forgets that the preselection has cut on the first smearing: with
# thresholds of 0.1, 0.5 and 0.8 GeV in the CMS the width at 0.55 GeV is right to 1.7, 0.9 and 0.3 %
_SECOND_SMEARING_ERROR = 0.02
_PAIRS = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # as genPair numbers them


def validate_photons(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    """Rates, resolutions of photons and of their pairs; the pairs are the run's own, where there are some."""
    settings = PhotonSettings.from_mapping(
        {name: value for name, value in samples[0].record.settings.items() if name != "inject"}
    )
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, 0x7661)))
    checks, curves = _response(settings, rng)
    mass_checks, mass_curves = _pair_masses(samples, settings.detector, rng)
    return Validation(
        "photons",
        "Photons",
        (
            "Photon resolutions are those of a standard sample of e+e- → γa events without fake clusters or"
            " merging, pair masses those of the run's own samples, before any kinematic fit; their"
            " reference is the config's resolution, smeared onto the measured photons a second time by other"
            " code.",
            "Widths are half the central 68.27 %, so low tails count for what they are.",
        ),
        (*_rates(samples, settings, rng), *checks, *mass_checks),
        (*curves, *mass_curves),
    )


def _rates(
    samples: Sequence[SimulatedFile], settings: PhotonSettings, rng: np.random.Generator
) -> list[Check]:
    checks = []
    used = {sample.record.process: sample.record for sample in samples}
    rates = settings.cross_sections
    if "qed_3gamma" in used:
        barrel = ThreePhotonGenerator(10.58, 0.65, -0.85, 0.85)
        checks.append(
            Check(
                "σ(e+e- → γγγ), E* > 0.65 GeV, |cos θ*| < 0.85, √s = 10.58 GeV",
                barrel.cross_section_fb / 1e3,
                barrel.cross_section_error_fb / 1e3,
                34.27,
                0.05,
                "pb",
                "same matrix element on flat phase space (RAMBO), another program",
            )
        )
    if "gamma_gamma" in used:
        checks += _two_photons(settings, rng)
    given = (
        ("gamma_eta", "η", rates.eta_to_two_photons, 4.5, 1.24),
        ("gamma_etaprime", "η'", rates.etaprime_to_two_photons, 5.4, 0.85),
    )
    for process, name, fraction, reference, error in given:
        cross_section = used[process].cross_section_fb if process in used else None
        if cross_section is not None and fraction > 0:
            checks.append(
                Check(
                    f"σ(e+e- → γ{name}) at √s = {settings.beams.sqrt_s:.3f} GeV, an input",
                    cross_section / fraction,
                    0.0,
                    reference,
                    error,
                    "fb",
                    "BaBar at 10.58 GeV, hep-ex/0605018, errors in quadrature",
                )
            )
    return checks


def _two_photons(settings: PhotonSettings, rng: np.random.Generator) -> list[Check]:
    """The rate that is an input, and the fakes: drawn freely against drawn where one is certain."""
    source = TwoPhotonSource(
        settings.beams,
        settings.detector,
        settings.selection.min_energy_lab,
        settings.cross_sections.gamma_gamma_fb,
    )
    cosine = source.max_cosine
    leading_order = (
        2
        * np.pi
        * ALPHA_QED**2
        / settings.beams.sqrt_s**2
        * (np.log((1 + cosine) / (1 - cosine)) - cosine)
        * GEV2_TO_FB
    )
    checks = [
        Check(
            "σ(e+e- → γγ), 10 to 170 degrees in the CMS, an input",
            settings.cross_sections.gamma_gamma_fb / 1e6,
            0.0,
            leading_order / 1e6,
            None,
            "nb",
            "leading order, in closed form; the input has radiative corrections",
        )
    ]
    fake = source.fake_probability
    if fake <= 0:
        return checks
    # events with a certain fake against events of the whole process: two different draws of the same fakes
    n_forced = N_TWO_PHOTON_EVENTS // 10
    photons = source.generate(rng, n_forced)
    kept_forced = len(
        measure(
            rng,
            photons,
            beams=settings.beams,
            detector=settings.detector,
            selection=settings.selection,
            force_fake=True,
        ).event
    )
    photons = _free_two_photons(source, rng, N_TWO_PHOTON_EVENTS)
    kept_free = len(
        measure(
            rng,
            photons,
            beams=settings.beams,
            detector=settings.detector,
            selection=settings.selection,
        ).event
    )
    if min(kept_forced, kept_free) < 10:
        return checks
    forced, unforced = kept_forced / n_forced * fake, kept_free / N_TWO_PHOTON_EVENTS
    checks.append(
        Check(
            "γγ events that pass the preselection by a fake cluster, fakes made certain and weighted",
            1e3 * forced,
            1e3 * forced / np.sqrt(kept_forced),
            1e3 * unforced,
            1e3 * unforced / np.sqrt(kept_free),
            "1e-3",
            "the same events with freely drawn fakes",
        )
    )
    return checks


def _free_two_photons(source: TwoPhotonSource, rng: np.random.Generator, n: int) -> Floats:
    """Events of e+e- → γγ at leading order, whether or not a fake comes with them, shape (n, 2, 4)."""
    trial = pole_cosine(rng, 3 * n, -source.max_cosine, source.max_cosine)
    cosine = trial[rng.random(3 * n) < 0.5 * (1 + trial**2)][:n]
    unit = direction(cosine, rng.uniform(-np.pi, np.pi, len(cosine)))
    energy = np.full(len(unit), 0.5 * source.beams.sqrt_s)
    return np.stack([massless(energy, unit), massless(energy, -unit)], axis=1)


def smeared_energies(rng: np.random.Generator, detector: Detector, energy: Floats) -> Floats:
    """Measured energies by the config's response, in plain numpy: what the fast kernel is held to."""
    sigma = detector.energy_resolution(energy)
    leaks = rng.random(energy.shape) < detector.low_tail_fraction
    loss = detector.low_tail_sigmas * rng.standard_exponential(energy.shape)
    return energy * (1 + sigma * (rng.standard_normal(energy.shape) - leaks * loss))


def _response(settings: PhotonSettings, rng: np.random.Generator) -> tuple[list[Check], list[Curve]]:
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
    angle = _opening(true, seen)
    many = np.tile(energy, 4)
    expected_ratio = smeared_energies(rng, detector, many) / many
    widths = _by_bin(energy, ENERGY_EDGES, ratio, half_width)
    references = _by_bin(many, ENERGY_EDGES, expected_ratio, half_width)
    # two Gaussian components make a Rayleigh distribution, whose median is 1.1774 sigma
    expected_angle = detector.angle_resolution(energy) * np.hypot(*rng.standard_normal((2, len(energy))))
    angles = _by_bin(energy, ENERGY_EDGES, angle, _rayleigh_width)
    angle_references = _by_bin(energy, ENERGY_EDGES, expected_angle, _rayleigh_width)
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


def _opening(first: Floats, second: Floats) -> Floats:
    """Angles between momenta, shape (n,), exact where they are small."""
    a = first[:, :3] / np.linalg.norm(first[:, :3], axis=1)[:, None]
    b = second[:, :3] / np.linalg.norm(second[:, :3], axis=1)[:, None]
    return 2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=1) / 2, 0, 1))


def _by_bin(x: Floats, edges: Floats, values: Floats, statistic: Callable[[Floats], float]) -> Floats:
    """Median x, statistic and its error in each bin, shape (n_bins, 3); NaN where a bin is nearly empty."""
    out = np.full((len(edges) - 1, 3), np.nan)
    for i in range(len(edges) - 1):
        inside = (edges[i] <= x) & (x < edges[i + 1])
        if inside.sum() >= _MIN_ROWS:
            out[i] = (float(np.median(x[inside])), *grouped_error(values[inside], statistic))
    return out


def _true_pairs(sample: SimulatedFile) -> tuple[Floats, Floats, NDArray]:
    """Momenta of the two photons of complete true pairs, each (n, 4), and the generated mass (NaN: none)."""
    photons = [name for name in PHOTON_NAMES if f"{name}_E" in sample.record.columns]
    names = [f"{photon}_{c}" for photon in photons for c in RAW_MOMENTUM]
    columns = sample.columns(*names, "genPair", "genM_a")
    momenta = photon_momenta(columns, photons, RAW_MOMENTUM)
    pair = columns["genPair"]
    complete = np.flatnonzero(pair >= 0)
    places = np.array(_PAIRS)[pair[complete]]
    rows = momenta[complete]
    index = np.arange(len(rows))
    return rows[index, places[:, 0]], rows[index, places[:, 1]], columns["genM_a"][complete]


def _masses(first: Floats, second: Floats) -> Floats:
    angle = _opening(first, second)
    return 2 * np.sin(angle / 2) * np.sqrt(first[:, 3] * second[:, 3])


def _smeared_masses(rng: np.random.Generator, detector: Detector, first: Floats, second: Floats) -> Floats:
    """Pair masses with the detector's resolution put on a second time, energies and the angle between."""
    angle = _opening(first, second)
    sigma = np.hypot(detector.angle_resolution(first[:, 3]), detector.angle_resolution(second[:, 3]))
    smeared = np.abs(angle + sigma * rng.standard_normal(len(angle)))
    energies = [smeared_energies(rng, detector, photon[:, 3]) for photon in (first, second)]
    return 2 * np.sin(smeared / 2) * np.sqrt(np.maximum(energies[0] * energies[1], 0))


def _pair_masses(
    samples: Sequence[SimulatedFile], detector: Detector, rng: np.random.Generator
) -> tuple[list[Check], list[Curve]]:
    """Widths of pair masses of the run's own signal and of its η and η'."""
    checks: list[Check] = []
    curves: list[Curve] = []
    source = "photon resolutions of the config, propagated"
    for process, name, mass in (("gamma_eta", "η", ETA_MASS), ("gamma_etaprime", "η'", ETA_PRIME_MASS)):
        for sample in samples:
            if sample.record.process != process:
                continue
            first, second, _ = _true_pairs(sample)
            if len(first) < _MIN_ROWS:
                continue
            seen = _masses(first, second)
            width = grouped_error(seen - mass, half_width)
            smeared = _smeared_masses(rng, detector, first, second)
            expected, error = grouped_error(smeared - seen, half_width)
            error = float(np.hypot(error, _SECOND_SMEARING_ERROR * expected))
            checks.append(
                Check.compare(
                    f"width of M(γγ) of {name} → γγ, sample {sample.name}",
                    width,
                    (expected, error),
                    "MeV",
                    source,
                    scale=1e3,
                )
            )
    pairs = [_true_pairs(sample) for sample in samples if sample.record.process == "gamma_alp"]
    if pairs:
        first, second, generated = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        seen = _masses(first, second)
        masses = generated.astype(np.float64)
        widths = _by_bin(masses, MASS_EDGES, seen - masses, half_width)
        smeared = _smeared_masses(rng, detector, first, second)
        references = _by_bin(masses, MASS_EDGES, smeared - seen, half_width)
        references[:, 2] = np.hypot(references[:, 2], _SECOND_SMEARING_ERROR * references[:, 1])
        for i in np.flatnonzero(np.isfinite(widths[:, 2]))[::3]:
            where = f"{MASS_EDGES[i]:g} to {MASS_EDGES[i + 1]:g} GeV"
            checks.append(
                Check.compare(
                    f"width of M(γγ) of the signal, {where}",
                    widths[i, 1:],
                    references[i, 1:],
                    "MeV",
                    source,
                    scale=1e3,
                )
            )
        curves.append(
            Curve(
                "pair_mass_resolution",
                "Mass resolution of the true pair",
                "Generated mass [GeV]",
                "Half width of 68 % of M(γγ) − m [MeV]",
                (
                    Series.of("simulated", widths[:, 0], 1e3 * widths[:, 1], 1e3 * widths[:, 2]),
                    Series.of("config, propagated", references[:, 0], 1e3 * references[:, 1]),
                ),
                "Resolution of the photon pair's mass rising with mass; points on the propagated line.",
            )
        )
    return checks, curves
