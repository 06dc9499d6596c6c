"""Validation of the displaced processes: lifetimes, spectra, conversions, vertices, efficiency against cτ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from darksieve.constants import K_SHORT_MASS, PION_MASS
from darksieve.datasets.simulation.decays import Floats, direction, one_plus_cosine_squared
from darksieve.datasets.simulation.displaced.backgrounds import HadronicSource, kshorts, lambdas
from darksieve.datasets.simulation.displaced.columns import LENGTH_BRANCH, MASS_BRANCH, measured_columns
from darksieve.datasets.simulation.displaced.conversions import (
    conversion_probabilities,
    mean_conversion_probability,
)
from darksieve.datasets.simulation.displaced.events import KSHORT_CTAU_CM, LAMBDA_CTAU_CM, MASSES
from darksieve.datasets.simulation.displaced.lifetimes import lifetime_efficiency
from darksieve.datasets.simulation.displaced.processes import SIGNALS
from darksieve.datasets.simulation.displaced.settings import DisplacedSettings
from darksieve.datasets.simulation.displaced.signal import generate_signal
from darksieve.datasets.simulation.displaced.tracking import measure_pairs, track_efficiency
from darksieve.datasets.simulation.validation import (
    Check,
    Curve,
    Series,
    SimulatedFile,
    Validation,
    grouped_error,
    half_width,
    known,
)

N_EVENTS = 60_000
N_DIRECT = 20_000
MASS_OF_DIRECT = 1.5  # GeV, where the model has room for it
HYPOTHESIS = {"dark_higgs_mumu": "mumu", "dark_higgs_pipi": "pipi", "dark_higgs_kk": "KK"}


def _mean(values: Floats) -> float:
    return float(np.mean(values))


def validate_displaced(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    """What can be held to a formula, a measurement or Pythia, and the efficiency against cτ."""
    settings = DisplacedSettings.from_mapping(samples[0].record.settings)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, 0x7661)))
    checks = [*_hadrons(rng, settings), *_conversions(rng, settings), *_vertices(rng, settings)]
    curves = []
    process = next((s.record.process for s in samples if s.record.process in SIGNALS), None)
    if process is not None:
        lifetimes = settings.model.hprime_lifetimes
        if lifetimes.low_cm < lifetimes.high_cm:
            own_checks, curve = _efficiency(rng, settings, process)
            checks += own_checks
            curves.append(curve)
        curves += _mass_resolution(samples)
    return Validation(
        "displaced",
        "Displaced vertices",
        (
            "Lifetimes, spectra, conversions and vertices are those of a standard sample with the run's"
            " settings. The efficiency is that of the preselection, against cτ of h'; cτ of χ2 is drawn as"
            " the config says.",
            "Backgrounds come from parametrised spectra; that particles of one event know nothing of each"
            " other, and that two-photon and Bhabha events are missing, is not checked here.",
        ),
        tuple(checks),
        tuple(curves),
    )


def _hadrons(rng: np.random.Generator, settings: DisplacedSettings) -> list[Check]:
    start = np.zeros((N_EVENTS, 3))
    checks = []
    pythia = "Pythia 8.317, 20 000 events u, d, s, c at 10.58 GeV without initial-state radiation"
    for name, make, ctau, momentum, spread in (
        ("K_S", kshorts, KSHORT_CTAU_CM, 1.1656, 0.78),
        ("Λ", lambdas, LAMBDA_CTAU_CM, 1.3507, 0.82),
    ):
        pairs, _, _ = make(rng, settings, start)
        parent = pairs.momenta.sum(axis=1)
        size = np.linalg.norm(parent[:, :3], axis=1)
        mass = np.sqrt(parent[:, 3] ** 2 - size**2)
        # from the record alone: flight distance over βγ
        flown = np.linalg.norm(pairs.vertex - start, axis=1) * mass / size
        checks.append(
            Check.compare(
                f"mean proper decay length of {name}",
                grouped_error(flown, _mean),
                (ctau, 0.0),
                "cm",
                "PDG 2024",
            )
        )
        cms = np.linalg.norm(settings.beams.to_cms(parent)[:, :3], axis=1)
        n_pythia = 20_000 * {"K_S": 0.467, "Λ": 0.097}[name]
        checks.append(
            Check.compare(
                f"mean momentum of {name} in the CMS",
                grouped_error(cms, _mean),
                (momentum, spread / np.sqrt(n_pythia)),
                "GeV",
                pythia,
            )
        )
    return checks


def _conversions(rng: np.random.Generator, settings: DisplacedSettings) -> list[Check]:
    beams, tracker, material = settings.beams, settings.tracker, settings.material
    unit = direction(one_plus_cosine_squared(rng, N_EVENTS), rng.uniform(-np.pi, np.pi, N_EVENTS))
    lab = beams.to_lab(np.concatenate([unit, np.ones((N_EVENTS, 1))], axis=1))
    sine = np.hypot(lab[:, 0], lab[:, 1]) / lab[:, 3]
    degrees = np.degrees(np.arccos(np.clip(lab[:, 2] / lab[:, 3], -1, 1)))
    seen = (tracker.start_deg < degrees) & (degrees < tracker.end_deg)
    probability = np.where(
        seen, conversion_probabilities(material, np.where(seen, sine, 1.0)).sum(axis=1), 0.0
    )
    checks = [
        Check.compare(
            "probability of a photon to convert",
            grouped_error(probability, _mean),
            (mean_conversion_probability(material, beams, tracker.start_deg, tracker.end_deg), 0.0),
            "%",
            "integral over the directions; material of Belle II from memory",
            scale=100,
        )
    ]
    # where conversions happen, by their point: the share of the first layer among all
    source = HadronicSource(settings, kshorts, 1.0)
    events = source.generate(rng, N_EVENTS)
    radius = np.hypot(events.chi2.vertex[:, 0], events.chi2.vertex[:, 1])
    first = np.abs(radius - material.radii_cm[0]) <= 0.6 * material.layer_cm
    photon = events.chi2.momenta.sum(axis=1)
    of_photon = conversion_probabilities(
        material, np.hypot(photon[:, 0], photon[:, 1]) / np.linalg.norm(photon[:, :3], axis=1)
    )
    expected = of_photon[:, 0] / of_photon.sum(axis=1)
    checks.append(
        Check.compare(
            "share of conversions in the innermost layer",
            (float(first.mean()), float(np.sqrt(first.mean() * (1 - first.mean()) / N_EVENTS))),
            (float(expected.mean()), 0.0),
            "%",
            "material map and absorption before it",
            scale=100,
        )
    )
    return checks


def _vertices(rng: np.random.Generator, settings: DisplacedSettings) -> list[Check]:
    pairs, _, _ = kshorts(rng, settings, np.zeros((N_EVENTS, 3)))
    found = (track_efficiency(settings.tracker, pairs.momenta) > 0).all(axis=1)
    pairs = replace(pairs, pdg=pairs.pdg[found], momenta=pairs.momenta[found], vertex=pairs.vertex[found])
    measured = measure_pairs(rng, replace(settings.tracker, tail_fraction=0.0), pairs)
    total = pairs.momenta[:, :, :3].sum(axis=1)
    unit = total / np.linalg.norm(total, axis=1)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        along = ((measured.vertex - pairs.vertex) * unit).sum(axis=1) / measured.along
    mass = measured.mass((PION_MASS, PION_MASS))
    pull = grouped_error(along, half_width)
    median = grouped_error(mass, lambda values: float(np.median(values)))
    if not known(pull, median):  # the config's tracker finds next to nothing
        return []
    return [
        Check.compare(
            "pull of the K_S vertex along its flight, width without tails",
            pull,
            (1.0, 0.0),
            "1",
            "the resolution of the config",
        ),
        Check.compare("median mass of K_S → ππ", median, (K_SHORT_MASS, 0.0), "MeV", "PDG 2024", scale=1e3),
    ]


def direct_efficiency(
    rng: np.random.Generator, settings: DisplacedSettings, process: str, mass: float, ctau_cm: float, n: int
) -> tuple[float, float]:
    """Efficiency of the preselection where every h' has this one cτ, and its error."""
    single = replace(settings, model=replace(settings.model, hprime_ctau_cm=(ctau_cm, ctau_cm)))
    events = generate_signal(rng, single, np.full(n, mass), SIGNALS[process][2])
    _, kept = measured_columns(rng, events, single)
    share = len(kept) / n
    return share, float(np.sqrt(share * (1 - share) / n))


def _efficiency(
    rng: np.random.Generator, settings: DisplacedSettings, process: str
) -> tuple[list[Check], Curve]:
    """Reweighted from one sample, beside samples of their own cτ."""
    lifetimes = settings.model.hprime_lifetimes
    low, high = 2 * MASSES[SIGNALS[process][2]], settings.beams.sqrt_s - settings.model.dark_photon_mass
    mass = min(MASS_OF_DIRECT, (low + high) / 2)
    events = generate_signal(rng, settings, np.full(N_EVENTS, mass), SIGNALS[process][2])
    columns, _ = measured_columns(rng, events, settings)
    lengths = columns[LENGTH_BRANCH].astype(np.float64)
    grid = np.geomspace(lifetimes.low_cm, lifetimes.high_cm, 33)
    line = np.array([lifetime_efficiency(lengths, N_EVENTS, lifetimes, ctau) for ctau in grid])
    points = np.geomspace(lifetimes.low_cm, lifetimes.high_cm, 7)[1:-1]
    direct = np.array([direct_efficiency(rng, settings, process, mass, ctau, N_DIRECT) for ctau in points])
    checks = []
    for ctau, made in zip(points, direct, strict=True):
        weighted = lifetime_efficiency(lengths, N_EVENTS, lifetimes, ctau)
        if made[0] > 0:
            checks.append(
                Check.compare(
                    f"efficiency at cτ(h') = {ctau:.3g} cm, reweighted from a flat logarithm",
                    weighted,
                    made,
                    "%",
                    "a sample with this one cτ",
                    scale=100,
                )
            )
    curve = Curve(
        "efficiency_by_lifetime",
        f"Efficiency of the preselection against cτ of h', m = {mass:.3g} GeV",
        "cτ of h' [cm]",
        "Efficiency",
        (
            Series.of("samples of one cτ", points, direct[:, 0], direct[:, 1]),
            Series.of("reweighted from a flat logarithm", grid, line[:, 0]),
        ),
        "Efficiency against lifetime, falling where h' leaves the tracker.",
        log_x=True,
    )
    return checks, curve


def _mass_resolution(samples: Sequence[SimulatedFile]) -> list[Curve]:
    """Widths of the h' mass under the right hypothesis, of the run's own samples."""
    series = []
    for sample in samples:
        hypothesis = HYPOTHESIS.get(sample.record.process)
        if hypothesis is None:
            continue
        columns = sample.columns(f"hprime_M_{hypothesis}", MASS_BRANCH)
        generated = columns[MASS_BRANCH].astype(np.float64)
        difference = columns[f"hprime_M_{hypothesis}"] - generated
        edges = np.unique(np.quantile(generated, np.linspace(0, 1, 9))) if len(generated) else np.empty(0)
        rows = []
        for low, high in pairwise(edges):
            inside = (low <= generated) & (generated <= high)
            if inside.sum() >= 250:
                middle = float(np.median(generated[inside]))
                rows.append((middle, *grouped_error(difference[inside], half_width)))
        if rows:
            x, y, errors = np.array(rows).T
            series.append(Series.of(f"{sample.name}: {hypothesis}", x, 1e3 * y, 1e3 * errors))
    if not series:
        return []
    return [
        Curve(
            "mass_resolution",
            "Mass resolution of h' → x+x-",
            "Generated mass of h' [GeV]",
            "Half width of 68 % of M − m [MeV]",
            tuple(series),
            "Mass resolution of h' rising with its mass.",
        )
    ]
